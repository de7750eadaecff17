"""Weights of one layout in another one: matched by origin, not by position."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.golden_files import lively

from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.moves import move
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import Network, build
from effscope.nn.inherit import by_layer, inherit, positions
from effscope.spec.layout import Layer, Layout
from effscope.training.run import transfer_lines

BASE = layout("yolov8n", 5)
GIVER = lively(BASE)
"""Tests must not change it."""


def with_new_layer(base: Layout, after: str) -> Layout:
    """The layout with a new C2f after a layer; the layer's readers read the new one."""
    at = base.index(after) + 1
    channels = base.layer(after).args[0]
    later = [replace(la, sources=tuple("new" if s == after else s for s in la.sources)) for la in base.layers[at:]]
    new = Layer("new", "C2f", (channels, True), (after,))
    return replace(base, layers=(*base.layers[:at], new, *later), n_backbone=base.n_backbone + (at <= base.n_backbone))


def taken_from(network: Network, base: Network, key: str, base_key: str) -> bool:
    return torch.equal(network.state_dict()[key], base.state_dict()[base_key])


def test_the_same_layout_inherits_everything() -> None:
    base = GIVER
    network = build(expand(BASE), 7)
    found = inherit(network, BASE, BASE, base.state_dict())
    assert set(found.exact) == set(network.state_dict())
    assert (found.reshaped, found.fresh, found.unused) == ((), (), ())
    assert all(torch.equal(v, base.state_dict()[k]) for k, v in network.state_dict().items())
    assert found.summary() == f"{len(found.exact)} of {len(found.exact)} tensors transferred"


@pytest.mark.parametrize("after", ["0", "4", "9", "12"])
def test_an_inserted_layer_shifts_positions_but_not_weights(after: str) -> None:
    model, base = with_new_layer(BASE, after), GIVER
    at = BASE.index(after) + 1
    network = build(expand(model), 7)
    fresh_before = {k: v.clone() for k, v in network.state_dict().items()}
    found = inherit(network, model, BASE, base.state_dict())
    assert positions(model, BASE) == {n: None if n == at else n - (n > at) for n in range(len(model.layers))}
    for key, value in network.state_dict().items():
        root, n, rest = key.split(".", 2)
        if int(n) == at:
            assert torch.equal(value, fresh_before[key])
        else:
            assert taken_from(network, base, key, f"{root}.{int(n) - (int(n) > at)}.{rest}")
    assert {key.split(".")[1] for key in found.fresh} == {str(at)}
    assert found.reshaped == found.unused == ()
    assert f"model.{at}" in found.summary()


@pytest.mark.parametrize("name", ["cib", "cib-lk", "scdown", "light-head"])
def test_a_move_keeps_the_tensors_of_the_other_layers_exactly(name: str) -> None:
    model, base = move(BASE, name), GIVER
    touched = {la.id for la, old in zip(model.layers, BASE.layers, strict=True) if la != old}
    network = build(expand(model), 7)
    found = inherit(network, model, BASE, base.state_dict())
    for key in network.state_dict():
        if key.split(".")[1] not in touched:
            assert key in found.exact
            assert taken_from(network, base, key, key)
    for key in found.fresh + found.reshaped:
        assert key.split(".")[1] in touched
    if name.startswith("cib"):
        assert {f"model.8.cv{i}.conv.weight" for i in (1, 2)} <= set(found.exact)
        assert all(".m." in key for key in found.fresh)


def test_another_class_count_renews_only_the_class_outputs() -> None:
    """With 5 and with 64 classes the class towers have 64 channels, so only their last convolutions differ."""
    wide = layout("yolov8n", 64)
    base, network = GIVER, build(expand(wide), 7)
    found = inherit(network, wide, BASE, base.state_dict())
    expected = {f"model.22.cv3.{i}.2.{role}" for i in range(3) for role in ("weight", "bias")}
    assert set(found.reshaped) == expected
    assert found.fresh == ()
    assert set(found.unused) == expected
    assert "fresh: model.22.cv3 (6)" in found.summary()


def test_the_summary_counts_the_copied_tensors() -> None:
    model = move(BASE, "cib", ["8"])
    found = inherit(build(expand(model)), model, BASE, GIVER.state_dict())
    counters = sum(key.endswith("num_batches_tracked") for key in found.exact)
    total = len(found.exact) + len(found.fresh) + len(found.reshaped)
    assert counters > 0
    assert found.summary().startswith(f"{len(found.exact)} of {total} tensors transferred; fresh: model.8.m (")
    assert not any(key.endswith("num_batches_tracked") for key in found.fresh + found.reshaped + found.unused)


def test_half_precision_weights_become_float32() -> None:
    base, network = lively(BASE).half(), build(expand(BASE))
    inherit(network, BASE, BASE, base.state_dict())
    assert {v.dtype for v in network.state_dict().values()} == {torch.float32, torch.int64}
    assert torch.equal(network.get_parameter("model.0.conv.weight"), base.get_parameter("model.0.conv.weight").float())


def test_nothing_fits_is_an_error_and_changes_nothing() -> None:
    network = build(expand(BASE))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    for state in ({}, {"model.0.conv.weight": torch.zeros(1)}, {"backbone.weight": torch.zeros(3, 3)}):
        with pytest.raises(EffscopeError, match="only 0 % of yolov8n"):
            inherit(network, BASE, BASE, state)
    strangers = replace(BASE, layers=tuple(replace(la, origin=None) for la in BASE.layers))
    with pytest.raises(EffscopeError, match="give weights of this model"):
        inherit(network, strangers, BASE, GIVER.state_dict())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_the_fixed_weights_alone_are_not_enough() -> None:
    """All YOLOv8 models share the 16 DFL weights and some counters: that is too little to inherit."""
    small, large = layout("yolov8n", 5), layout("yolov8s", 5)
    with pytest.raises(EffscopeError):
        inherit(build(expand(small)), small, large, lively(large).state_dict())


def test_a_second_head_comes_from_the_first() -> None:
    base = layout("yolov8n", 3)
    both = move(base, "nms-free")
    given, network = build(expand(base), seed=1), build(expand(both), seed=2)
    transfer = inherit(network, both, base, given.state_dict())
    assert transfer.fresh == transfer.reshaped == transfer.unused == ()
    own, theirs = network.state_dict(), given.state_dict()
    assert all(torch.equal(tensor, theirs[key.replace("one2one_", "")]) for key, tensor in own.items())


def test_the_transfer_layer_by_layer_adds_up() -> None:
    """Another class count and a new layer: the head is partial, the new layer fresh, all others exact."""
    model = replace(with_new_layer(BASE, "9"), nc=80)
    network = build(expand(model), 7)
    found = inherit(network, model, BASE, GIVER.state_dict())
    rows = by_layer(found, network, model)
    states = {row.layer: row.state for row in rows}
    assert states.pop("model.10") == "fresh"
    assert states.pop("model.23") == "partial"
    assert set(states.values()) == {"exact"}
    tensors = {k: t for k, t in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert sum(row.tensors for row in rows) == len(tensors)
    assert sum(row.params for row in rows) == sum(t.numel() for t in tensors.values())
    kept = [key for key in found.exact if key in tensors]
    assert sum(row.exact_tensors for row in rows) == len(kept)
    assert sum(row.exact_params for row in rows) == sum(tensors[key].numel() for key in kept)
    assert sum(row.reshaped for row in rows) == len(found.reshaped)
    first, exact, partial, fresh = transfer_lines("giver.pt", rows)
    assert first.startswith("weights of giver.pt: ")
    assert exact == f"  exact: {len(states)} layers: all their tensors"
    assert partial.startswith("  partial: 1 layer: model.23 Detect (")
    assert fresh == "  fresh: 1 layer: model.10 C2f (0 of 20 tensors)"
