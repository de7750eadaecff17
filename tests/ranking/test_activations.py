"""Ranks of outputs over images: streaming moments, and a network that is restored afterwards."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.golden_files import lively
from torch import Tensor, nn

from effscope import api
from effscope.config import RankConfig
from effscope.detect.images import training_images
from effscope.errors import EffscopeError
from effscope.layouts.expand import closing_conv, expand, stages
from effscope.layouts.zoo.catalog import layout
from effscope.models.open import open_model
from effscope.nn.build import Network, build
from effscope.nn.preserved import preserved
from effscope.progress import silent, unsaid
from effscope.ranking.analyze import rank
from effscope.ranking.models import rank_model
from effscope.ranking.moments import Moments
from effscope.ranking.thresholds import cut
from effscope.results import RankResult
from effscope.spec.layout import Layout
from effscope.thresholds import read_threshold


def shown(outputs: list[Tensor]) -> Moments:
    moments = Moments("made")
    for out in outputs:
        moments(nn.Identity(), (), out)
    return moments


def offline(outputs: list[Tensor], *, centred: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The same moments from all outputs at once."""
    vectors = torch.cat([o.double().permute(0, 2, 3, 1).flatten(0, 2) for o in outputs])
    return (vectors.T.cov(correction=0) if centred else vectors.T @ vectors / len(vectors)).numpy()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 10_000), st.sampled_from([0.0, 1.0, 1e4]), st.booleans())
def test_moments_equal_those_of_all_outputs_in_memory(n: int, c: int, seed: int, common: float, centred: bool) -> None:
    """Also if a common value is ten thousand times the spread: no digits cancel."""
    random = torch.Generator().manual_seed(seed)
    outputs = [torch.randn(2, c, 3, 4, generator=random) + common for _ in range(n)]
    found, expected = shown(outputs).second(centred=centred), offline(outputs, centred=centred)
    assert np.allclose(found, expected, rtol=1e-9, atol=1e-9 if centred else 1e-9 * (1 + common**2))
    assert np.allclose(found, found.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("times", [2, 4, 7])
def test_repeated_images_do_not_change_one_bit(times: int, centred: bool) -> None:
    random = torch.Generator().manual_seed(times)
    outputs = [torch.randn(1, 16, 9, 9, generator=random) * 3 + 5 for _ in range(11)]
    once, often = shown(outputs), shown(outputs * times)
    assert often.n == times * once.n
    found, expected = often.second(centred=centred), once.second(centred=centred)
    if times < 7:  # seven times a rounded sum is rounded again, once
        assert np.array_equal(found, expected)
    assert np.abs(found - expected).max() <= 2 * np.spacing(np.abs(expected).max())


def test_memory_does_not_depend_on_the_number_of_images() -> None:
    moments = Moments("made")
    for n in range(200):
        moments(nn.Identity(), (), torch.full((1, 4, 8, 8), float(n)))
    held = [getattr(moments, name) for name in ("total", "outer")]
    assert sum(t.numel() for s in held for t in (s.high, s.low)) + moments.shift.numel() == 4 * (2 + 8 + 1)


def test_no_image_is_an_error() -> None:
    with pytest.raises(EffscopeError, match="made: no image"):
        Moments("made").second(centred=True)
    model = layout("yolov8n", 3)
    with pytest.raises(EffscopeError, match="no image"):
        rank(build(expand(model)), model, RankConfig(), images=[])


def kept(network: Network, model: Layout, batches: list[Tensor]) -> dict[int, list[Tensor]]:
    """Stage -> every output of its closing convolution."""
    found: dict[int, list[Tensor]] = {stage.number: [] for stage in stages(model)}
    hooks = {
        closing_conv(network.spec, stage).module: lambda m, i, out, into=found[stage.number]: into.append(out)
        for stage in stages(model)
    }  # fmt: skip
    with preserved(network, hooks):
        for batch in batches:
            network(batch)
    return found


def agrees(result: RankResult, outputs: dict[int, list[Tensor]], *, centred: bool) -> None:
    threshold = result.definition.threshold
    for row in result.stages:
        values = np.sqrt(np.clip(np.linalg.eigvalsh(offline(outputs[row.stage], centred=centred))[::-1], 0, None))
        assert row.rank == cut(read_threshold(threshold), values, None, 2.0**-23).rank  # type: ignore[arg-type]
        share = values[values > 0] / values.sum()
        assert row.effective_rank == pytest.approx(float(np.exp(-(share * np.log(share)).sum())), rel=1e-4)
        assert (row.null_ratio, row.null_sd) == (None, None)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("threshold", [0.5, 0.1, "energy:0.9"])
def test_activation_ranks_equal_an_offline_computation(threshold: float | str, centred: bool) -> None:
    model = layout("yolov8n", 3)
    network = lively(model)
    batches = list(torch.rand(3, 2, 3, 64, 64, generator=torch.Generator().manual_seed(3)))
    batches[2] = batches[2][:1]
    outputs = kept(network, model, batches)
    result = rank(network, model, RankConfig(threshold=threshold, centred=centred), images=iter(batches))
    agrees(result, outputs, centred=centred)
    other = rank(network, model, RankConfig(threshold=threshold, centred=not centred), images=iter(batches))
    variant = result.stability[-1]
    assert variant.name == ("not centred" if centred else "centred")
    assert (variant.order, variant.ties) == (other.order, other.ties)


def test_sixty_four_real_images_shown_twice_give_equal_ranks(shared: Path) -> None:
    opened = open_model(str(shared / "data" / "weights" / "yolov8n_coco.pt"))
    images = list(training_images(str(shared / "data" / "bccd" / "data.yaml"), 64, 160, silent, unsaid))
    assert len(images) == 64
    once, twice = (rank_model(opened, RankConfig(), images=shown) for shown in (images, images * 2))
    assert once.stages == twice.stages
    assert once.spectra[0].values == twice.spectra[0].values
    network = opened.network()
    agrees(once, kept(network, opened.layout, images), centred=True)


class Restless(nn.Module):
    """A module with a forward pass that draws, counts in a buffer, and raises at the n-th call."""

    def __init__(self, raises_at: int = 99) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.Dropout(0.5)
        self.second = nn.Sequential(nn.Conv2d(8, 16, 3, 2), nn.Conv2d(16, 16, 3))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        self.raises_at, self.calls = raises_at, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.raises_at:
            raise RuntimeError("the third image is too much\nfor this module")
        self.seen += 1
        self.scratch.copy_(torch.rand(2))
        out: Tensor = self.second(self.drop(self.norm(self.first(x))))
        return out


def traces(module: nn.Module) -> dict[str, Any]:
    """Everything that must be as before."""
    return {
        "state": {k: v.clone() for k, v in module.state_dict().items()},
        "buffers": {k: v.clone() for k, v in module.named_buffers()},
        "training": [m.training for m in module.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in module.modules()],
        "random": torch.get_rng_state(),
        "grads": [p.requires_grad for p in module.parameters()],
        "enabled": torch.is_grad_enabled(),
    }


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


@pytest.mark.parametrize("raises_at", [99, 1, 3])
def test_hooks_are_removed_and_the_module_restored(raises_at: int) -> None:
    module = Restless(raises_at)
    module.norm.eval()  # a mixed mode must come back as it was
    ran: list[int] = []
    module.first.register_forward_hook(lambda *_: ran.append(1))
    before = traces(module)
    hooks = {"first": Moments("first"), "second.1": Moments("second.1")}
    try:
        with preserved(module, hooks):
            for _ in range(4):
                module(torch.rand(1, 3, 32, 32))
    except RuntimeError:
        assert raises_at < 99
    else:
        assert raises_at == 99
    assert same(before, traces(module))
    assert len(ran) == min(raises_at - 1, 4)


def test_a_ranking_restores_the_module(tmp_path: Path) -> None:
    module = Restless()
    before = traces(module)
    result = api.rank(module, activations="builtin:shapes", limit=3, imgsz=64, at="all")
    assert len(result.order) == 3
    assert same(before, traces(module))
    broken = Restless(raises_at=3)  # the first call is the trace's
    before = traces(broken)
    with pytest.raises(EffscopeError, match=r"Restless cannot be run on these images: the third image is too much$"):
        api.rank(broken, activations="builtin:shapes", limit=4, imgsz=64, at="all")
    assert same(before, traces(broken))


def test_a_ranking_restores_a_built_network() -> None:
    model = layout("yolov8n", 3)
    network = build(expand(model))
    before = traces(network)

    def batches() -> Iterator[Tensor]:
        yield torch.rand(1, 3, 64, 64)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        rank(network, model, RankConfig(), images=batches())
    assert same(before, traces(network))
    rank(network, model, RankConfig(), images=[torch.rand(2, 3, 64, 64)])
    assert same(before | {"random": 0}, traces(network) | {"random": 0})


class Meddling(nn.Module):
    """A module with a forward pass that replaces buffers and changes its weights in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("late", None)
        self.register_buffer("wide", torch.zeros(1).expand(8))

    def forward(self, x: Tensor) -> Tensor:
        self.count = self.count + 1
        self.late = torch.ones(2)
        self.conv.weight.mul_(0.5)
        out: Tensor = self.conv(x)
        return out


def test_replaced_buffers_and_changed_weights_are_restored() -> None:
    module = Meddling()
    before, count, wide = traces(module), module.count, module.wide
    with preserved(module, {"conv": Moments("conv")}):
        module(torch.rand(1, 3, 8, 8))
        assert module.late is not None
    assert same(before, traces(module))
    assert (module.count is count, module.wide is wide, module.late) == (True, True, None)


def test_a_hook_at_an_unknown_module_path_is_refused() -> None:
    module = Restless()
    with pytest.raises(EffscopeError, match="third"), preserved(module, {"third": Moments("third")}):
        pass


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_have_the_dtype_of_the_module(dtype: torch.dtype) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 3)).to(dtype)
    plain = copy.deepcopy(module).double()
    found, expected = (
        api.rank(m, activations="builtin:shapes", limit=2, imgsz=64, at="all").spectra for m in (module, plain)
    )  # fmt: skip
    for a, b in zip(found, expected, strict=True):
        assert np.allclose(a.values, b.values, rtol=0.05, atol=0.02 * b.values[0])


def test_non_finite_outputs_are_named() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    module[0].bias.data[0] = float("inf")  # type: ignore[union-attr]
    with pytest.raises(EffscopeError, match=r"^0: the outputs hold NaN"):
        api.rank(module, activations="builtin:shapes", limit=1, imgsz=32, at="all")


@pytest.mark.parametrize("threshold", ["mp", 1e-9])
def test_thresholds_without_meaning_for_outputs_are_refused(threshold: float | str) -> None:
    with pytest.raises(EffscopeError, match="`threshold`"):
        api.rank("yolov8n", threshold=threshold, activations="builtin:shapes", limit=1, imgsz=64)


def test_eps_is_not_below_the_rounding_error_of_a_covariance() -> None:
    """Three channels in give three directions out, also in double precision."""
    for dtype in (torch.float32, torch.float64):
        module = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1, bias=False)).to(dtype)
        rows = api.rank(module, at="all", imgsz=32, activations="builtin:shapes", limit=2, threshold="eps").stages
        assert [row.rank for row in rows] == [3, 3]


def test_too_few_positions_are_noted() -> None:
    module = nn.Sequential(nn.Conv2d(3, 64, 32, 32), nn.Conv2d(64, 8, 1))
    rows = {r.layer: r for r in api.rank(module, activations="builtin:shapes", limit=1, imgsz=64, at="all").stages}
    assert rows["0"].note == "only 4 positions for 64 channels: give more or larger images"
    assert rows["1"].note.startswith("only 4 positions for 8")
    enough = api.rank(module, activations="builtin:shapes", limit=16, imgsz=64, at="all").stages
    assert all(row.note == "" for row in enough)


def test_outputs_of_depthwise_convolutions_are_ranked() -> None:
    """A rank of their weights has no meaning; one of their outputs has."""
    module = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 1, 1))
    rows = {r.layer: r for r in api.rank(module, activations="builtin:shapes", limit=2, imgsz=64, at="all").stages}
    assert rows["1"].rank is not None and 1 <= rows["1"].rank <= 8
    assert rows["2"].rank is None and "one output channel" in rows["2"].note
    assert {r.layer: r.rank is None for r in api.rank(module, imgsz=64, at="all").stages} == {
        "0": False,
        "1": True,
        "2": True,
    }


def test_the_definition_has_the_number_of_images() -> None:
    result = api.rank("yolov8n", activations="builtin:shapes", limit=3, imgsz=64)
    assert result.definition.of == "activations over 3 training images of builtin:shapes at 64 px"


def test_weights_without_architecture_cannot_be_run(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.rand(4, 3, 3, 3)}, tmp_path / "bare.pt")
    with pytest.raises(EffscopeError, match="can only be counted and ranked"):
        api.rank(str(tmp_path / "bare.pt"), activations="builtin:shapes", limit=1, imgsz=32)
