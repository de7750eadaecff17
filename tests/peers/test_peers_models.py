"""Built networks and exported layouts against Ultralytics: same tensors, same outputs, and it trains what we write."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.peers_env import ask_for
from support.small_detector import CLASSES, coloured_squares
from torch import Tensor

from effscope.checkpoint.read import read_checkpoint
from effscope.checkpoint.write import write_safetensors, write_state_dict
from effscope.costing.model import cost
from effscope.data.write import write_yolo
from effscope.layouts.expand import expand
from effscope.layouts.moves import move, swap_stage
from effscope.layouts.ultralytics_yaml.layout_yaml import read_yaml, to_yaml
from effscope.layouts.zoo.catalog import layout
from effscope.models.open import open_model
from effscope.nn.build import Network, build
from effscope.nn.fuse import deploy
from effscope.spec.layout import Layout

MIXED = {3: "cib-lk", 4: "cib", 5: "cib", 8: "cib-lk"}
"""Stage -> move."""

RAW_WITHIN = 1e-4
COUNTERS = "num_batches_tracked"


@dataclass(frozen=True)
class Case:
    """One network on both sides: ours, and how Ultralytics is told to build it."""

    ours: Network
    layout: Layout
    question: dict[str, Any]
    images: Tensor


def mixed(base: Layout) -> Layout:
    """CIB and large-kernel CIB at some stages, under the light head."""
    changed = move(base, "light-head")
    for stage, name in MIXED.items():
        changed = swap_stage(changed, stage, name)
    return changed


def lively(architecture: Layout, seed: int) -> Network:
    """Random weights whose signal reaches the head: batch norms have measured real statistics and random gains."""
    network = build(expand(architecture), seed)
    generator = torch.Generator().manual_seed(seed)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.data.uniform_(0.5, 1.5, generator=generator)
        norm.bias.data.normal_(0, 0.3, generator=generator)
        norm.momentum, usual = 1.0, norm.momentum
    with torch.no_grad():
        network(torch.rand(3, 3, 160, 160, generator=generator))
    for norm in norms:
        norm.momentum = usual
    return network.eval()


def images(seed: int, height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


def made(folder: Path, name: str, model: str, architecture: Layout, suffix: str) -> Case:
    """A seeded network, its weights in a file of ours, and the question to Ultralytics."""
    seed = len(name)
    network, pixels = lively(architecture, seed), images(seed, 160, 224)
    weights = folder / f"{name}{suffix}"
    if suffix == ".safetensors":
        write_safetensors(weights, network.state_dict(), {"format": "pt"})
    else:
        write_state_dict(weights, network.state_dict())
    torch.save(pixels, folder / f"{name}.images")
    question = {"name": name, "model": model, "weights": str(weights), "images": str(folder / f"{name}.images")}
    return Case(network, architecture, question, pixels)


def trained(folder: Path) -> dict[str, Case]:
    """The COCO-trained yolov8n, where it is at hand."""
    file = Path(__file__).resolve().parents[3] / "shared" / "data" / "weights" / "yolov8n_coco.pt"
    if not file.exists():
        return {}
    model, pixels = open_model(str(file)), images(0, 320, 256)
    torch.save(pixels, folder / "coco.images")
    question = {"name": "yolov8n_coco", "model": str(file), "images": str(folder / "coco.images")}
    return {"yolov8n_coco": Case(model.network().float().eval(), model.layout, question, pixels)}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("cases")
    found = {name: made(folder, name, f"{name}.yaml", layout(name), ".safetensors") for name in ("yolov8n", "yolov8s")}
    for scale, suffix in (("n", ".safetensors"), ("s", ".pt")):
        architecture = mixed(layout(f"yolov8{scale}", 7))
        target = folder / scale / "model.yaml"  # the name says no scale: the file has to
        target.parent.mkdir()
        target.write_text(to_yaml(architecture), encoding="utf-8")
        found[f"mixed {scale}"] = made(folder, f"mixed {scale}", str(target), architecture, suffix)
    return found | trained(folder)


@pytest.fixture(scope="module")
def answers(cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What Ultralytics says to all the cases, in one process."""
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "question.json").write_text(json.dumps([case.question for case in cases.values()]))
    ask_for("outputs", folder)
    found: dict[str, dict[str, Any]] = torch.load(folder / "answer.pt")
    return found


NAMES = ("yolov8n", "yolov8s", "mixed n", "mixed s", "yolov8n_coco")


def pick(name: str, cases: dict[str, Case], answers: dict[str, dict[str, Any]]) -> tuple[Case, dict[str, Any]]:
    if name not in cases:
        pytest.skip(f"{name} needs the real weights in ../shared")
    return cases[name], answers[name]


def apart(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Largest difference of decoded outputs: of boxes in px, of scores."""
    difference = (one - other).abs()
    return difference[:, :4].max().item(), difference[:, 4:].max().item()


@pytest.mark.parametrize("name", NAMES)
def test_same_raw_and_decoded_outputs(name: str, cases: dict[str, Case], answers: dict[str, dict[str, Any]]) -> None:
    case, theirs = pick(name, cases, answers)
    with torch.inference_mode():
        ours = case.ours(case.images)
    raw = torch.cat([level.flatten(2) for level in ours["o2m"]], 2)
    assert raw.std() > 0.5, "a dead signal would compare equal"
    assert (raw - theirs["raw"]).abs().max() < RAW_WITHIN
    torch.testing.assert_close(ours["decoded"][0], theirs["decoded"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_same_tensors_and_counts(name: str, cases: dict[str, Case], answers: dict[str, dict[str, Any]]) -> None:
    case, theirs = pick(name, cases, answers)
    assert {key: tuple(value.shape) for key, value in case.ours.state_dict().items()} == theirs["shapes"]
    counted = cost(case.layout, 640)
    assert counted.params == theirs["params"] == sum(p.numel() for p in case.ours.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_same_deploy_form(name: str, cases: dict[str, Case], answers: dict[str, dict[str, Any]]) -> None:
    """Batch norms folded and branches merged: as many parameters as after Ultralytics' fuse, and no more rounding.

    Random networks amplify float32 rounding to some 0.01 px, in either fused form.
    """
    case, theirs = pick(name, cases, answers)
    deployed = deploy(case.ours)
    params = sum(p.numel() for p in deployed.parameters())
    assert cost(case.layout, 640).params_deploy == theirs["fused_params"] == params
    with torch.inference_mode():
        ours = deployed(case.images)["decoded"][0]
    px, score = apart(ours, theirs["decoded"])
    their_px, their_score = apart(theirs["fused"], theirs["decoded"])
    assert px < 0.2
    assert px < 3 * their_px + 1e-3
    assert score < 3 * their_score + 1e-5


def test_ultralytics_trains_what_we_write(tmp_path: Path) -> None:
    """One epoch there; then its checkpoint opens here, as the same layout with the same tensors."""
    architecture = mixed(layout("yolov8n", len(CLASSES)))
    (tmp_path / "model.yaml").write_text(to_yaml(architecture), encoding="utf-8")
    write_yolo([coloured_squares(8, "train"), coloured_squares(4, "val", seed=1)], tmp_path / "data")
    ask_for("train", tmp_path)

    last = tmp_path / "run" / "weights" / "last.pt"
    opened = open_model(str(last))
    assert opened.classes == CLASSES == tuple(json.loads((tmp_path / "answer.json").read_text())["names"])
    assert opened.layout.layers == architecture.layers
    assert opened.layout.scale == architecture.scale

    theirs = read_checkpoint(tmp_path / "trained.safetensors").state
    assert opened.state is not None
    assert set(opened.state) == set(theirs)
    assert all(torch.equal(opened.state[key].float(), value.float()) for key, value in theirs.items())
    assert set(opened.network().state_dict()) == set(theirs)


def test_layout_comes_back_from_its_yaml(tmp_path: Path) -> None:
    architecture = mixed(layout("yolov8s", 7))
    target = tmp_path / "model.yaml"
    target.write_text(to_yaml(architecture), encoding="utf-8")
    assert replace(read_yaml(target), name=architecture.name) == architecture
