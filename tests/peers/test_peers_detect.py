"""Letterbox, non-maximum suppression and whole detections against Ultralytics' predict."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from support.peers_env import PEERS, ask_for
from torch import Tensor

from effscope.checkpoint.write import write_safetensors
from effscope.config import EvalConfig
from effscope.data.read import decode
from effscope.detect.letterbox import letterbox, letterboxed
from effscope.detect.predict import Detections, detect, select
from effscope.layouts.expand import expand
from effscope.layouts.ultralytics_yaml.layout_yaml import to_yaml
from effscope.layouts.zoo.catalog import layout
from effscope.models.open import open_model
from effscope.nn.build import Network, build
from effscope.nn.fuse import deploy

Picture = NDArray[np.uint8]

DEFAULTS = EvalConfig(imgsz=640, conf=0.25, iou=0.7, max_det=300, device="cpu")
"""What Ultralytics' predict does unless told otherwise."""

SIZES = ((810, 1080), (1280, 720), (640, 480), (97, 64), (333, 1000), (1001, 999), (1500, 211))


def smooth(width: int, height: int, seed: int) -> Picture:
    """A picture with soft structure at every scale, as photographs have."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.zeros(1, 3, height, width)
    for step in (64, 16, 4):
        coarse = torch.rand(1, 3, height // step + 2, width // step + 2, generator=generator)
        pixels += torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic") / 3
    levels = (pixels[0] * 255).clamp(0, 255).round().to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous().numpy()


def test_same_letterbox(tmp_path: Path) -> None:
    pictures: dict[str, Any] = {f"{w}x{h}": smooth(w, h, w) for w, h in SIZES}
    np.savez(tmp_path / "question.npz", **pictures)
    ask_for("letterbox", tmp_path)
    with np.load(tmp_path / "answer.npz") as theirs:
        for name, picture in pictures.items():
            fit = letterbox((picture.shape[1], picture.shape[0]), 640, stride=32)
            ours = letterboxed(torch.from_numpy(picture).permute(2, 0, 1), fit).permute(1, 2, 0).numpy()
            assert ours.shape == theirs[name].shape, name
            assert np.abs(ours.astype(int) - theirs[name].astype(int)).max() <= 1, name


def crowds(seed: int, nc: int) -> Tensor:
    """Decoded output (2, 4 + nc, 1500): 60 objects, each seen from 25 points; scores mostly low and all different."""
    generator = torch.Generator().manual_seed(seed)
    objects = torch.rand(2, 60, 1, 4, generator=generator)
    centres, sizes = objects[..., :2] * 640, 10 + objects[..., 2:] * 200
    jitter = torch.randn(2, 60, 25, 4, generator=generator) * 0.08
    boxes = torch.cat((centres + jitter[..., :2] * sizes, sizes * jitter[..., 2:].exp()), -1).flatten(1, 2)
    order = torch.stack([torch.randperm(1500 * nc, generator=generator) for _ in range(2)])
    scores = ((order + 0.5) / (1500 * nc)).pow(6).view(2, 1500, nc)
    return torch.cat((boxes, scores), 2).transpose(1, 2).contiguous()


@dataclass(frozen=True)
class Suppression:
    """One comparison; the fields of the settings are those of both sides."""

    seed: int
    nc: int
    conf: float
    iou: float
    max_det: int
    multi_label: bool

    def ours(self) -> list[Tensor]:
        config = EvalConfig(conf=self.conf, iou=self.iou, max_det=self.max_det)
        return select(crowds(self.seed, self.nc), "xywh", config, self.multi_label)

    def question(self) -> dict[str, Any]:
        settings = {"conf_thres": self.conf, "iou_thres": self.iou, "max_det": self.max_det}
        return {"decoded": crowds(self.seed, self.nc), "multi_label": self.multi_label, **settings}


SUPPRESSIONS = (
    Suppression(seed=1, nc=80, conf=0.25, iou=0.7, max_det=300, multi_label=False),
    Suppression(seed=2, nc=12, conf=0.001, iou=0.7, max_det=300, multi_label=True),
    Suppression(seed=3, nc=3, conf=0.001, iou=0.9, max_det=1000, multi_label=True),
    Suppression(seed=4, nc=1, conf=0.25, iou=0.45, max_det=10, multi_label=False),
    Suppression(seed=5, nc=2, conf=0.9999999, iou=0.7, max_det=300, multi_label=False),
)


def test_same_suppression(tmp_path: Path) -> None:
    torch.save([case.question() for case in SUPPRESSIONS], tmp_path / "question.pt")
    ask_for("suppress", tmp_path)
    for case, theirs in zip(SUPPRESSIONS, torch.load(tmp_path / "answer.pt"), strict=True):
        for mine, other in zip(case.ours(), theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-3, msg=str(case))


def test_suppressions_differ_in_what_ends_them() -> None:
    """Something is suppressed, `max_det` cuts, nothing is found."""
    counts = [[len(rows) for rows in case.ours()] for case in SUPPRESSIONS]
    assert counts[2] == [1000, 1000]
    assert counts[3] == [10, 10]
    assert counts[4] == [0, 0]


@dataclass(frozen=True)
class Apart:
    """How far two lists of detections are apart: boxes in px, scores."""

    px: float
    score: float


def matched(ours: Detections, theirs: dict[str, Tensor]) -> Apart:
    """Pair the detections, each with the nearest box of its class, and compare the pairs."""
    assert sorted(ours.labels.tolist()) == sorted(theirs["labels"].int().tolist())
    free = list(range(len(ours.labels)))
    px = score = 0.0
    for box, sure, label in zip(theirs["boxes"], theirs["scores"], theirs["labels"], strict=True):
        gaps = {k: float(np.abs(ours.boxes[k] - box.numpy()).max()) for k in free if ours.labels[k] == int(label)}
        nearest = min(gaps, key=gaps.__getitem__)
        free.remove(nearest)
        px, score = max(px, gaps[nearest]), max(score, abs(float(ours.scores[nearest]) - float(sure)))
    return Apart(px, score)


def detections(network: Network, pictures: list[Path]) -> list[Detections]:
    found = dict(detect(deploy(network), map(decode, pictures), DEFAULTS, multi_label=False))
    return [found[k] for k in range(len(pictures))]


def asked(folder: Path, question: dict[str, Any], pictures: list[Path]) -> dict[str, Any]:
    (folder / "question.json").write_text(json.dumps(question | {"pictures": [str(p) for p in pictures]}))
    ask_for("predict", folder)
    answer: dict[str, Any] = torch.load(folder / "answer.pt")
    return answer


def test_same_detections_on_photographs(shared: Path, tmp_path: Path) -> None:
    pictures = sorted(PEERS.glob(".venv/lib/python3*/site-packages/ultralytics/assets/*.jpg"))
    weights = shared / "data" / "weights" / "yolov8n_coco.pt"
    answer = asked(tmp_path, {"model": str(weights)}, pictures)
    model = open_model(str(weights))
    assert [p.stem for p in pictures] == ["bus", "zidane"]
    assert model.classes == tuple(answer["names"].values())
    for ours, theirs in zip(detections(model.network(), pictures), answer["found"], strict=True):
        assert len(ours.labels) >= 3
        apart = matched(ours, theirs)
        assert apart.px < 1
        assert apart.score < 1e-3


EAGER_BIAS = -4.0


def eager(seed: int) -> Network:
    """A random detector of three classes that is sure of something: its class bias is raised."""
    network = build(expand(layout("yolov8n", 3)), seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        network(torch.from_numpy(smooth(640, 448, 9)).permute(2, 0, 1)[None] / 255)
        for name, bias in network.named_parameters():
            if name.startswith("model.22.cv3") and name.endswith(".2.bias"):
                bias.fill_(EAGER_BIAS)
    return network.eval()


def test_same_detections_of_a_random_detector(tmp_path: Path) -> None:
    """The twin that needs no real weights: one picture that fits as it is, one that is scaled unevenly."""
    pictures = [tmp_path / "fits.png", tmp_path / "odd.png"]
    for size, path in zip(((640, 400), (650, 411)), pictures, strict=True):
        Image.fromarray(smooth(*size, seed=1)).save(path)
    network = eager(seed=4)
    write_safetensors(tmp_path / "eager.safetensors", network.state_dict(), {"format": "pt"})
    (tmp_path / "model.yaml").write_text(to_yaml(layout("yolov8n", 3)), encoding="utf-8")
    question = {"model": str(tmp_path / "model.yaml"), "weights": str(tmp_path / "eager.safetensors")}
    answer = asked(tmp_path, question, pictures)
    for ours, theirs in zip(detections(network, pictures), answer["found"], strict=True):
        assert len(ours.labels) >= 10
        apart = matched(ours, theirs)
        assert apart.px < 0.1
        assert apart.score < 1e-3
