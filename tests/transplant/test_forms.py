"""Closed forms of layers, walked by table: each starts nearer to the old layer than by name and shape."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import Any

import pytest
import torch
from support.golden_files import with_random_norms
from torch import Tensor, nn

from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.nn.build import Network, build
from effscope.nn.inherit import inherit
from effscope.nn.statistics import recalibrate
from effscope.spec.layout import IMAGE, Layer, Layout, Scale
from effscope.transplant.distil import error_of
from effscope.transplant.fits import refit
from effscope.transplant.forms import FORMS, Start, start
from effscope.transplant.passes import Pair
from effscope.transplant.record import Pairs
from effscope.transplant.smaller import _take

CASES: dict[tuple[str, str, str], tuple[tuple[Any, ...], tuple[Any, ...], int, int]] = {
    ("C2f", "C2fCIB", "shortcut"): ((32, True), (32, True), 2, 2),
    ("C2f", "C2fCIB", "no shortcut before"): ((32, False), (32, True), 1, 1),
    ("C2f", "C2fCIB", "large kernel"): ((32, True), (32, True, True), 1, 1),
    ("C3k2", "C2fCIB", "narrow inside"): ((32, False), (32, True), 1, 1),
    ("C3", "C2fCIB", "two branches"): ((32, True), (32, True), 2, 2),
    ("C2f", "C2f", "narrower"): ((32, True), (32, True, 1, 0.25), 2, 2),
    ("C2f", "C2f", "shallower"): ((32, True), (32, True), 3, 2),
    ("C3k2", "C3k2", "narrower"): ((32, False), (32, False, 0.25), 1, 1),
    ("C3k2", "C3k2", "shallower"): ((32, False), (32, False), 2, 1),
    ("C3", "C3", "narrower"): ((32, True), (32, True, 1, 0.25), 2, 2),
    ("C3", "C3", "shallower"): ((32, True), (32, True), 3, 1),
    ("C2f", "C2f", "without blocks"): ((32, True), (32, True), 1, 0),
    ("C3", "C3", "without blocks"): ((32, True), (32, True), 1, 0),
    ("C2f", "C2f", "narrower, no blocks"): ((32, True), (32, True, 1, 0.25), 0, 0),
    ("C3", "C3", "narrower, no blocks"): ((32, True), (32, True, 1, 0.25), 0, 0),
    ("A2C2f", "A2C2f", "narrower, no blocks"): ((128, False), (128, False, 1, False, 2.0, 0.25), 0, 0),
    ("C3k2", "C3k2", "C3s inside, narrower"): ((32, True), (32, True, 0.25), 2, 2),
    ("C3k2", "C3k2", "C3s inside, shallower"): ((32, True), (32, True), 2, 1),
    ("C2fCIB", "C2fCIB", "shallower"): ((32, True), (32, True), 2, 1),
    ("A2C2f", "A2C2f", "shallower"): ((64, True), (64, True), 2, 1),
    ("A2C2f", "A2C2f", "C3s inside, shallower"): ((64, False), (64, False), 2, 1),
    ("ELAN1", "ELAN1", "narrower"): ((32, 32, 16), (32, 32, 8), 1, 1),
    ("Conv", "SCDown", ""): ((32, 3, 2), (32, 3, 2), 1, 1),
    ("Conv", "GhostConv", ""): ((32, 3, 1), (32, 3, 1), 1, 1),
    ("SpatialConv", "SpatialConv", "one kernel"): ((32, (3,), 1, "dense"), (32, (3,), 1, "separable"), 1, 1),
    ("SpatialConv", "SpatialConv", "mixed kernels"): ((32, (3,), 2, "dense"), (32, (3, 5), 2, "separable"), 1, 1),
    ("SpatialConv", "SpatialConv", "smaller kernel"): ((32, (5,), 1, "dense"), (32, (3,), 1, "separable"), 1, 1),
    ("CSPLayer", "CSPLayer", "mixed kernels"): ((32, True, (3,), "dense"), (32, True, (3, 5), "separable"), 2, 2),
    ("Detect", "Detect", "light"): ((3,), (3, "light"), 1, 1),
    ("Detect", "Detect", "light, two heads"): ((3, "standard", "dual"), (3, "light", "dual"), 1, 1),
    ("YOLOXHead", "YOLOXHead", "separable"): ((3, (3,), "dense"), (3, (3,), "separable"), 1, 1),
}
"""(old block, new block, case) -> arguments and repeats of the old and of the new layer."""


def layout_with(block: str, args: tuple[Any, ...], repeats: int, c: int = 32) -> Layout:
    layers = (
        Layer("a", "Conv", (c, 3, 2), (IMAGE,), origin="a"),
        Layer("b", "Conv", (c, 3, 2), ("a",), origin="b"),
        Layer("x", block, args, ("b",), repeats=repeats, origin="x"),
    )
    return Layout("made", layers, Scale(), 3, 3)


def images(n: int = 24, side: int = 32, seed: int = 0) -> Tensor:
    """Smooth random images in batches of eight."""
    coarse = torch.rand(n, 3, side // 4, side // 4, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, size=side, mode="bicubic")


def network_of(layout: Layout, seed: int = 0) -> Network:
    """A network whose norms have the statistics of the images, like a trained one."""
    network = with_random_norms(build(expand(layout), seed), 1)
    recalibrate(network, [(images(),)])
    return network


def pair_of(base: Network, network: Network, shown: Tensor) -> tuple[Pair, Pairs]:
    with torch.no_grad():
        (x,) = base.model["1"](*base.model["0"](shown))
        out = base.model["2"](x)
    batches = [((x[n : n + 8],), (x[n : n + 8],)) for n in range(0, len(x), 8)]
    return Pair(base.model["2"], network.model["2"], batches), Pairs((x,), out if isinstance(out, tuple) else (out,))


def started(case: tuple[str, str, str], shown: Tensor | None = None, c: int = 32) -> tuple[Start, float, float]:
    """The start, and the error of the new layer by name and shape and after the start."""
    old, new, _ = case
    args, new_args, repeats, new_repeats = CASES[case]
    if c != 32:
        args, new_args = ((c, *found[1:]) if found[0] == 32 else found for found in (args, new_args))
    layout = layout_with(old, args, repeats, c)
    changed = layout.swap([replace(layout.layer("x"), block=new, args=new_args, repeats=new_repeats)])
    base, network = network_of(layout), build(expand(changed), 5).eval()
    inherit(network, changed, layout, base.state_dict())
    shown = images() if shown is None else shown
    pair, pairs = pair_of(base, network, shown)
    before = error_of(pair.new, pairs, 8)
    return start(pair, old, new), before, error_of(pair.new, pairs, 8)


def test_every_form_has_a_case() -> None:
    assert {case[:2] for case in CASES} == set(FORMS)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_closed_form_is_nearer_to_the_old_layer_than_names_and_shapes(case: tuple[str, str, str]) -> None:
    found, before, after = started(case)
    assert found.error is not None, found.reason
    assert after < 0.9 * before
    assert found.words == f"in closed form, error {found.error:.3f}"


@pytest.mark.parametrize("case", CASES, ids="-".join)
@pytest.mark.parametrize("n", [1, 2])
def test_one_image_is_enough_to_run(case: tuple[str, str, str], n: int) -> None:
    found, _, after = started(case, images(n))
    assert found.error is not None
    assert isfinite(after)


@pytest.mark.parametrize("case", [case for case in CASES if case[0] in ("C2f", "Conv", "C3")], ids="-".join)
def test_tiny_channels(case: tuple[str, str, str]) -> None:
    found, _, after = started(case, c=8)
    assert found.error is not None
    assert isfinite(after)


def test_black_images_change_nothing_for_the_worse_than_finite() -> None:
    """All channels are constant: the fits keep their priors."""
    for case in CASES:
        _, _, after = started(case, torch.zeros(4, 3, 32, 32))
        assert isfinite(after)


def exact_light_head(base: Network) -> None:
    """Make the class towers' 3x3 kernels separable: one term per input channel."""
    for name, module in base.model["2"].named_modules():
        if name.startswith("cv3") and isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            c_out, c_in = module.weight.shape[:2]
            random = torch.Generator().manual_seed(c_out)
            p, d = torch.randn(c_out, c_in, 1, 1, generator=random), torch.randn(1, c_in, 3, 3, generator=random)
            module.weight.data.copy_(0.1 * p * d)


def test_separable_towers_are_inherited_exactly() -> None:
    """Only the linear range of an activation that the old towers do not have is left as an error."""
    layout = layout_with("Detect", (3,), 1)
    changed = layout.swap([replace(layout.layer("x"), args=(3, "light"))])
    base = with_random_norms(build(expand(layout), 0), 1)
    exact_light_head(base)
    recalibrate(base, [(images(),)])
    network = build(expand(changed), 5).eval()
    inherit(network, changed, layout, base.state_dict())
    pair, pairs = pair_of(base, network, images())
    found = start(pair, "Detect", "Detect")
    assert found.error is not None
    assert found.error < 2e-3
    assert error_of(pair.new, pairs, 8) < 1e-2


@pytest.mark.parametrize("activation", ["relu", "relu6", "leaky_relu", "hardswish", "gelu"])
def test_other_activations(activation: str) -> None:
    layout = replace(layout_with("C2f", (32, True), 1), activation=activation)
    changed = layout.swap([Layer("x", "C2fCIB", (32, True), ("b",), origin="x")])
    base, network = network_of(layout), build(expand(changed), 5).eval()
    inherit(network, changed, layout, base.state_dict())
    pair, pairs = pair_of(base, network, images())
    before = error_of(pair.new, pairs, 8)
    assert start(pair, "C2f", "C2fCIB").error is not None
    assert error_of(pair.new, pairs, 8) < 0.5 * before


def test_what_has_no_closed_form_keeps_its_names_and_shapes_and_says_why() -> None:
    layout = layout_with("C3k2", (32, True), 1)  # C3k inside: a C3 of two Bottlenecks
    changed = layout.swap([Layer("x", "C2fCIB", (32, True), ("b",), origin="x")])
    base, network = network_of(layout), build(expand(changed), 5).eval()
    inherit(network, changed, layout, base.state_dict())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    pair, _ = pair_of(base, network, images())
    found = start(pair, "C3k2", "C2fCIB")
    assert found.error is None
    assert found.words == "by name and shape: its inner blocks are not two convolutions in a row"
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert start(pair, "C2f", "SPPF").words == "by name and shape: C2f to SPPF has no closed form"


def test_bfloat16_weights_are_fitted_like_float32_ones() -> None:
    found, _, exact = started(("C2f", "C2fCIB", "shortcut"))
    layout = layout_with("C2f", (32, True), 2)
    changed = layout.swap([replace(layout.layer("x"), block="C2fCIB", args=(32, True))])
    base, network = network_of(layout), build(expand(changed), 5).eval()
    with torch.no_grad():
        for tensor in base.state_dict().values():
            tensor.copy_(tensor.bfloat16())
    inherit(network, changed, layout, {key: value.bfloat16() for key, value in base.state_dict().items()})
    pair, pairs = pair_of(base, network, images())
    assert start(pair, "C2f", "C2fCIB").error == pytest.approx(found.error, rel=0.2)
    assert error_of(pair.new, pairs, 8) == pytest.approx(exact, rel=0.2)


def test_damaged_weights_are_refused() -> None:
    layout = layout_with("C2f", (32, True), 1)
    changed = layout.swap([replace(layout.layer("x"), block="C2fCIB", args=(32, True))])
    base, network = network_of(layout), build(expand(changed), 5).eval()
    base.model["2"].get_submodule("m.0.cv1.conv").weight.data[0] = torch.nan
    pair, _ = pair_of(base, network, images())
    with pytest.raises(EffscopeError, match="not finite"):
        start(pair, "C2f", "C2fCIB")


@pytest.mark.parametrize(
    ("old", "new", "args", "repeats", "reason"),
    [
        (("C2f", (32, True, 1, 0.25)), "C2fCIB", (32, True), (1, 1), "another width"),  # the inner width doubles
        (("C3k2", (32, False, 0.25)), "C2fCIB", (32, True), (1, 1), "another width"),  # stages 1 and 2 of yolo11n
        (("C2f", (32, True)), "C2fCIB", (32, True), (1, 2), "another number of inner blocks"),
        (("C3", (32, True)), "C2fCIB", (32, True), (2, 1), "another number of inner blocks"),
        (("C2f", (32, True, 1, 0.25)), "C2f", (32, True), (1, 1), "may become smaller"),
        (("C2f", (32, True)), "C2f", (32, True), (1, 2), "may become smaller"),
    ],
)
def test_parts_that_do_not_fit_together_start_by_name_and_shape(
    old: tuple[str, tuple[Any, ...]], new: str, args: tuple[Any, ...], repeats: tuple[int, int], reason: str
) -> None:
    layout = layout_with(old[0], old[1], repeats[0])
    changed = layout.swap([replace(layout.layer("x"), block=new, args=args, repeats=repeats[1])])
    base, network = network_of(layout), build(expand(changed), 5).eval()
    inherit(network, changed, layout, base.state_dict())
    found = start(pair_of(base, network, images(4))[0], old[0], new)
    assert found.error is None
    assert reason in found.reason


@pytest.mark.parametrize("seed", range(6))
def test_the_kept_block_is_the_best_of_all_and_its_error_is_told(seed: int) -> None:
    """Each choice tried on its own, from the start."""
    layout = layout_with("C3", (16, True), 3, 16)
    changed = layout.swap([replace(layout.layer("x"), repeats=1)])
    base = network_of(layout, seed)

    def student() -> tuple[Pair, Pairs]:
        network = build(expand(changed), 5).eval()
        inherit(network, changed, layout, base.state_dict())
        return pair_of(base, network, images(2, 16, seed))

    alone = []
    for kept in range(3):
        pair, _ = student()
        _take(pair, (kept,))
        alone.append(refit(pair, "cv3", "cv3"))
    pair, _ = student()
    assert start(pair, "C3", "C3").error == pytest.approx(min(alone), rel=1e-6)


@pytest.mark.parametrize("case", [case for case in CASES if case[0] in ("C2f", "C3", "CSPLayer")], ids="-".join)
def test_constant_inputs_are_no_damage(case: tuple[str, str, str]) -> None:
    """Channels that are constant, but not zero: their variance is rounding noise."""
    for shown in (torch.zeros(3, 3, 4, 4), torch.full((3, 3, 4, 4), 0.7)):
        _, _, after = started(case, shown)
        assert isfinite(after)
