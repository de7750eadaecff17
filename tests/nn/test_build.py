"""Built networks: names, seeds, sharing, copies, export, hooks, and layers that run alone."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.golden_files import conv_at, lively
from torch import nn

from effscope.checkpoint.read import read_checkpoint
from effscope.checkpoint.write import write_safetensors
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.moves import move
from effscope.layouts.zoo.catalog import layout
from effscope.models.file_metadata import metadata
from effscope.models.open import open_model
from effscope.models.opened import LayoutModel
from effscope.nn.build import Network, build, digest, view
from effscope.nn.seeds import path_seed
from effscope.spec.emit import BN_EPS, BN_MOMENTUM
from effscope.spec.layout import Layout

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
LAYOUTS = {
    "plain": layout("yolov8n", 3),
    "cib-lk": move(move(layout("yolov8n", 3), "cib-lk"), "light-head"),
    "cib, scdown": move(move(layout("yolov8n", 3), "cib"), "scdown"),
}


@pytest.fixture(params=list(LAYOUTS))
def model(request: pytest.FixtureRequest) -> Layout:
    return LAYOUTS[request.param]


def outputs(network: nn.Module, images: torch.Tensor = IMAGES) -> list[torch.Tensor]:
    with torch.no_grad():
        return [t for tensors in network(images).values() for t in tensors]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def equal_states(a: nn.Module, b: nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return list(one) == list(two) and all(torch.equal(one[key], two[key]) for key in one)


def test_only_the_seed_decides_the_weights_and_the_random_state_is_kept(model: Layout) -> None:
    graph = expand(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        a = build(graph, 5)
        torch.manual_seed(2)
        state = torch.random.get_rng_state()
        b = build(graph, 5)
        assert torch.equal(torch.random.get_rng_state(), state)
    assert equal_states(a, b)
    assert not equal_states(a, build(graph, 6))
    assert a.training


SWAPS = {
    "one stage": move(LAYOUTS["plain"], "cib", ["8"]),
    "another stage": move(LAYOUTS["plain"], "cib", ["6"]),
    "both stages": move(move(LAYOUTS["plain"], "cib", ["6"]), "cib", ["8"]),
    "both and scdown": LAYOUTS["cib, scdown"],
    "light head": move(LAYOUTS["plain"], "light-head"),
    "two heads": move(LAYOUTS["plain"], "nms-free"),
    "more classes": layout("yolov8n", 80),
}


@pytest.mark.parametrize("other", list(SWAPS))
def test_a_module_has_the_same_fresh_weights_in_every_layout(other: str) -> None:
    plain, swapped = build(expand(LAYOUTS["plain"]), 5).state_dict(), build(expand(SWAPS[other]), 5).state_dict()
    shared = [key for key in plain if key in swapped and plain[key].shape == swapped[key].shape]
    assert len(shared) > 0.6 * len(plain)
    assert all(torch.equal(plain[key], swapped[key]) for key in shared)


@pytest.mark.parametrize(("alone", "stage"), [("one stage", "8"), ("another stage", "6")])
def test_a_swapped_stage_has_the_same_fresh_weights_alone_and_with_others(alone: str, stage: str) -> None:
    one, states = (
        build(expand(SWAPS[alone]), 5),
        [build(expand(SWAPS[name]), 5) for name in ("both stages", "both and scdown")],
    )
    own = {key: t for key, t in one.state_dict().items() if key.startswith(f"model.{stage}.m.")}
    assert own
    for state in (network.state_dict() for network in states):
        assert all(torch.equal(tensor, state[key]) for key, tensor in own.items())


def test_modules_of_one_shape_differ_by_path_and_by_seed() -> None:
    """Two convolutions of the same stage must not start equal, nor one convolution under two seeds."""
    plain, reseeded = build(expand(LAYOUTS["plain"]), 5), build(expand(LAYOUTS["plain"]), 6)
    one, two = (conv_at(plain, f"model.8.m.0.cv{n}.conv").weight for n in (1, 2))
    assert one.shape == two.shape
    assert not torch.equal(one, two)
    assert not torch.equal(one, conv_at(reseeded, "model.8.m.0.cv1.conv").weight)
    drawn = [conv_at(plain, node.module).weight for node in plain.spec.nodes if node.op == "conv2d"]
    assert len({digest({"": weight.flatten()[:4]}) for weight in drawn}) == len(drawn)


def test_the_seed_of_a_path_is_the_documented_one() -> None:
    """The number is written out: a change of the rule changes every seeded number and must fail here."""
    assert path_seed(0, "model.8.m.0.cv1.conv") == 8_955_356_915_291_087_932
    paths = [
        path_seed(seed, path) for seed in (0, 1, 11) for path in ("model.0.conv", "model.1.conv", "1/model.0.conv")
    ]
    assert len(set(paths)) == len(paths)
    assert all(0 <= seed < 2**63 for seed in paths)


def test_state_dict_keys_are_those_of_the_checkpoint(shared: Path) -> None:
    state = read_checkpoint(shared / "data" / "weights" / "yolov8n_coco_state_dict.pt").state
    network = build(expand(layout("yolov8n")))
    own = network.state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in state.items()}
    network.load_state_dict(dict(state))


def test_state_dict_keys_are_those_of_the_graph(model: Layout) -> None:
    network = build(expand(model))
    keys = {key for node in network.spec.nodes for _, key in node.params}
    assert set(network.state_dict()) == keys
    assert len(network.state_dict()) == len(keys)
    assert {"model.0.conv.weight", "model.8.cv2.bn.running_var", "model.22.dfl.conv.weight"} <= keys
    assert all(network.get_parameter(k) is not None for k, _ in network.named_parameters())


def test_distribution_weights_are_frozen_and_norms_as_published(model: Layout) -> None:
    network = build(expand(model))
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"model.22.dfl.conv.weight"}
    assert torch.equal(network.get_parameter("model.22.dfl.conv.weight").flatten(), torch.arange(16.0))
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(BN_EPS, BN_MOMENTUM)} == {(1e-3, 0.03)}


def test_a_view_shares_every_weight_and_gives_the_same_output(model: Layout) -> None:
    network = lively(model)
    raw = view(network, "o2m")
    assert set(raw(IMAGES)) == {"o2m"}
    assert not raw.training
    own = dict(network.named_parameters())
    assert all(p is own[name] for name, p in raw.named_parameters())
    assert set(own) - {name for name, _ in raw.named_parameters()} == {"model.22.dfl.conv.weight"}
    full = network(IMAGES)
    assert same(list(raw(IMAGES)["o2m"]), list(full["o2m"]))
    assert same(list(view(network, "decoded")(IMAGES)["decoded"]), list(full["decoded"]))
    with torch.no_grad():
        conv_at(raw, "model.0.conv").weight.mul_(2)
    assert not same(list(network(IMAGES)["o2m"]), list(full["o2m"]))
    with pytest.raises(EffscopeError, match="unknown view 'o2o'"):
        view(network, "o2o")


def test_a_view_leaves_the_modes_of_the_network() -> None:
    """A frozen norm (in eval mode inside a training network) must stay in eval mode."""
    network = build(expand(LAYOUTS["plain"]))
    frozen = network.get_submodule("model.2.cv1.bn").eval()
    view(network, "o2m")
    assert not frozen.training


@pytest.mark.parametrize("way", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))], ids=["deepcopy", "pickle"])
def test_copies_compute_the_same_and_share_nothing(model: Layout, way: object) -> None:
    network = lively(model)
    twin: Network = way(network)  # type: ignore[operator]
    assert same(outputs(twin), outputs(network))
    assert twin.spec == network.spec
    assert not {p.data_ptr() for p in twin.parameters()} & {p.data_ptr() for p in network.parameters()}
    assert equal_states(twin, network)
    assert {n for n, p in twin.named_parameters() if not p.requires_grad} == {"model.22.dfl.conv.weight"}


def test_export_computes_the_same() -> None:
    network = view(lively(LAYOUTS["cib-lk"]), "decoded")
    exported = torch.export.export(network, (IMAGES,), strict=False)
    found = exported.module()(IMAGES)["decoded"][0]
    assert torch.allclose(found, network(IMAGES)["decoded"][0], atol=1e-4)


@pytest.mark.parametrize("path", ["model.8", "model.8.cv2.conv", "model.8.m.0.cv1.conv", "model.22", "model.9.m"])
def test_hooks_fire_at_layers_and_primitives(path: str) -> None:
    network = lively(LAYOUTS["plain"])
    fired: list[str] = []
    handle = network.get_submodule(path).register_forward_hook(lambda m, i, o: fired.append(path))
    outputs(network)
    handle.remove()
    assert fired == [path] * (3 if path == "model.9.m" else 1)


def test_a_layer_gives_the_same_alone_and_in_the_network(model: Layout) -> None:
    network = lively(model)
    seen: dict[str, tuple[object, object]] = {}
    for position, layer in network.model.items():
        layer.register_forward_hook(lambda m, i, o, position=position: seen.update({position: (i, o)}))
    outputs(network)
    assert list(seen) == [str(n) for n in range(len(model.layers))]
    for position, (given, out) in seen.items():
        layer, wires = network.model[position], network.wiring[position]
        assert len(given) == len(wires.inputs)  # type: ignore[arg-type]
        assert isinstance(out, tuple)
        assert len(out) == len(wires.outputs)
        with torch.no_grad():
            assert same(list(layer(*given)), list(out))  # type: ignore[misc]


def test_a_layer_can_be_replaced() -> None:
    network = lively(LAYOUTS["plain"])
    other = lively(LAYOUTS["cib, scdown"], seed=3)
    network.model["8"] = other.model["8"]
    assert all(t.isfinite().all() for t in outputs(network))


def test_gradients_reach_every_trained_weight(model: Layout) -> None:
    network = view(build(expand(model)), "o2m")
    sum(t.square().mean() for t in network(IMAGES)["o2m"]).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters() if p.requires_grad)


def test_outputs_do_not_depend_on_the_batch(model: Layout) -> None:
    network = lively(model)
    both, first = outputs(network), outputs(network, IMAGES[:1])
    assert all(torch.allclose(a[:1], b, atol=1e-3) for a, b in zip(both, first, strict=True))


def test_a_model_with_a_new_layer_keeps_its_weights_when_opened() -> None:
    """A layer without an origin has weights too."""
    base = LAYOUTS["plain"]
    fresh = base.swap([replace(base.layer("9"), origin=None)])
    network = lively(fresh)
    opened = LayoutModel("made", fresh, network.state_dict()).network(seed=9)
    assert equal_states(opened, network)


def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    """effscope's weights file without one tensor must not open with random values for it."""
    network = lively(LAYOUTS["plain"])
    state = dict(network.state_dict())
    file = tmp_path / "model.safetensors"
    write_safetensors(file, state, metadata(LAYOUTS["plain"], None, 64))
    assert equal_states(open_model(str(file)).network(seed=4), network)
    del state["model.8.cv2.conv.weight"]
    write_safetensors(file, state, metadata(LAYOUTS["plain"], None, 64))
    with pytest.raises(EffscopeError):
        open_model(str(file)).network(seed=4)


def test_a_one_to_one_head_starts_as_the_one_to_many() -> None:
    state = build(expand(layout("yolov10n", 3)), seed=1).state_dict()
    pairs = [(key, key.replace("one2one_", "")) for key in state if "one2one_" in key]
    assert len(pairs) == sum(".cv2." in key or ".cv3." in key for key in state if key.startswith("model.23."))
    assert all(torch.equal(state[a], state[b]) for a, b in pairs)
