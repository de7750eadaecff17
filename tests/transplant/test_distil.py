"""Recording a layer, and fitting its replacement: nothing else changes, and nothing but the arguments matters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.golden_files import with_random_norms
from torch import nn

from effscope.config import DistilConfig
from effscope.layouts.expand import expand
from effscope.nn.build import Network, build, view
from effscope.nn.inherit import inherit
from effscope.spec.layout import IMAGE, Layer, Layout, Scale
from effscope.transplant.distil import Distilled, class_divergence, distil, error_of, normalised_error
from effscope.transplant.record import Pairs, record

BASE = Layout(
    "made",
    (
        Layer("a", "Conv", (16, 3, 2), (IMAGE,), origin="a"),
        Layer("b", "C2f", (16, True), ("a",), origin="b"),
        Layer("c", "C2f", (16, True), ("b",), origin="c"),
        Layer("d", "Concat", (1,), ("a", "c"), origin="d"),
    ),
    Scale(),
    3,
    4,
)
SWAPPED = BASE.swap([Layer("c", "C2fCIB", (16, True), ("b",), origin="c")])
CONFIG = DistilConfig(steps=60, batch=8, lr=1e-2)
PLENTY = 1 << 30


def image_batches(n: int = 8, size: int = 4) -> list[torch.Tensor]:
    return list(torch.rand(n, size, 3, 16, 16, generator=torch.Generator().manual_seed(0)))


def teacher() -> Network:
    """A network with batch-norm statistics of the images, like a trained one."""
    network = with_random_norms(build(expand(BASE), 0), 1).train()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 0.5
    with torch.no_grad():
        for _ in range(3):
            for images in image_batches():
                network(images)
    for norm in norms:
        norm.momentum = 0.03
    return network.eval()


def student(base: Network) -> tuple[Network, set[str]]:
    """The swapped network with inherited weights, and the names of the fresh tensors in its swapped layer."""
    network = build(expand(SWAPPED), 3)
    found = inherit(network, SWAPPED, BASE, base.state_dict())
    return network, {key.removeprefix("model.2.") for key in found.fresh if key.startswith("model.2.")}


def test_a_swapped_layer_learns_the_layer_it_replaces() -> None:
    base = teacher()
    network, fresh = student(base)
    pairs = record(base, 2, image_batches(), PLENTY)
    layer = network.model["2"]
    _, held = pairs.divided()
    before = error_of(layer, held, 8)
    found = distil(layer, pairs, fresh, CONFIG, seed=0)
    assert found.before == pytest.approx(before, rel=1e-6)
    assert found.after < 0.9 * before
    assert error_of(layer, held, 8) == pytest.approx(found.after, rel=1e-6)


@pytest.mark.parametrize("lr", [1e-3, 1.0, 1e30])
def test_it_never_ends_worse_than_it_began(lr: float) -> None:
    """Also with rates that destroy the layer, and with weights that become infinite."""
    base = teacher()
    network, fresh = student(base)
    pairs, layer = record(base, 2, image_batches(), PLENTY), network.model["2"]
    _, held = pairs.divided()
    found = distil(layer, pairs, fresh, DistilConfig(steps=60, batch=8, lr=lr), seed=0)
    assert found.after <= found.before
    assert error_of(layer, held, 8) == pytest.approx(found.after, rel=1e-6)


def test_no_step_leaves_the_layer_as_it_is() -> None:
    base = teacher()
    network, fresh = student(base)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    found = distil(network.model["2"], record(base, 2, image_batches(), PLENTY), fresh, DistilConfig(steps=0), seed=0)
    assert found.after == found.before
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 40])
def test_held_back_images_are_not_learned_and_keep_mirror_images_together(n: int) -> None:
    """Image k is at 2k, its mirror image at 2k + 1. With less than 16 pairs nothing can be held back."""
    rows = torch.arange(n, dtype=torch.float32)[:, None, None, None]
    learns, held = Pairs((rows,), (rows,)).divided()
    seen, kept = ({int(value) for value in pairs.inputs[0].flatten()} for pairs in (learns, held))
    assert seen | kept == set(range(n))
    if n < 16:
        assert seen == kept
    else:
        assert not seen & kept
        assert {value // 2 for value in kept}.isdisjoint({value // 2 for value in seen})


def test_class_divergence_is_that_of_bernoulli_distributions() -> None:
    """Against torch.distributions, divided by the sum of the largest probabilities; the first channels do not count."""
    own, wanted = torch.randn(2, 2, 7, 3, 3, generator=torch.Generator().manual_seed(0)).unbind()
    p, q = (torch.distributions.Bernoulli(logits=x[:, 4:]) for x in (wanted, own))
    truth = torch.distributions.kl_divergence(p, q).sum() / wanted[:, 4:].sigmoid().amax(1).sum()
    assert class_divergence(4)((own,), (wanted,)).item() == pytest.approx(truth.item(), rel=1e-5)
    assert class_divergence(4)((wanted,), (wanted,)).item() == pytest.approx(0, abs=1e-6)


def test_only_the_named_parameters_change() -> None:
    base = teacher()
    network, fresh = student(base)
    pairs = record(base, 2, image_batches(), PLENTY)
    before = {k: p.detach().clone() for k, p in network.named_parameters()}
    others = {k: b.clone() for k, b in network.named_buffers() if not k.startswith("model.2.")}
    distil(network.model["2"], pairs, fresh, DistilConfig(steps=3, batch=4), seed=0)
    changed = {k for k, p in network.named_parameters() if not torch.equal(p, before[k])}
    assert changed == {f"model.2.{k}" for k in fresh if f"model.2.{k}" in before}
    assert all(torch.equal(b, others[k]) for k, b in network.named_buffers() if k in others)
    assert all(p.requires_grad for p in network.parameters())
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.momentum for m in norms} == {0.03}


def test_the_seed_decides_the_result_and_the_global_random_state_is_kept() -> None:
    results: list[Distilled] = []
    for seed in (0, 0, 1):
        base = teacher()
        network, fresh = student(base)
        pairs = record(base, 2, image_batches(), PLENTY)
        torch.manual_seed(seed + len(results))
        state = torch.random.get_rng_state()
        results.append(distil(network.model["2"], pairs, fresh, DistilConfig(steps=20, batch=4), seed))
        assert torch.equal(torch.random.get_rng_state(), state)
    assert results[0] == results[1]
    assert results[0].after != results[2].after


def test_record_keeps_inputs_and_outputs_of_the_layer() -> None:
    base, shown = teacher(), image_batches(3)
    pairs = record(base, 2, shown, PLENTY)
    assert len(pairs) == 12
    with torch.no_grad():
        given = torch.cat([view(base, "features").model["1"](base.model["0"](x)[0])[0] for x in shown])
        (out,) = base.model["2"](given)
    for kept, exact in ((pairs.inputs[0], given), (pairs.outputs[0], out)):
        assert (kept.float() - exact).norm() < 0.02 * exact.norm()
    assert {t.dtype for t in (*pairs.inputs, *pairs.outputs)} == {torch.bfloat16}


def test_record_keeps_every_input_of_a_concat() -> None:
    pairs = record(teacher(), 3, image_batches(2), PLENTY)
    assert [tuple(t.shape[1:]) for t in pairs.inputs] == [(16, 8, 8), (16, 8, 8)]
    assert [tuple(t.shape[1:]) for t in pairs.outputs] == [(32, 8, 8)]


@pytest.mark.parametrize(
    ("limit", "batches"), [(1, 1), (16 * 8 * 8 * 2 * 2 * 4, 1), (16 * 8 * 8 * 2 * 2 * 4 + 1, 2), (PLENTY, 6)]
)
def test_record_stops_at_the_limit(limit: int, batches: int) -> None:
    """A batch of four has 4 * 16 * 8 * 8 input values and as many output values, two bytes each."""
    asked = []

    def shown() -> Iterator[torch.Tensor]:
        for x in image_batches(6):
            asked.append(1)
            yield x

    assert len(record(teacher(), 2, shown(), limit)) == 4 * batches
    assert len(asked) == batches


@pytest.mark.parametrize("fails", [False, True])
def test_record_restores_modes_and_hooks(fails: bool) -> None:
    network = build(expand(BASE))
    frozen = network.get_submodule("model.1.cv1.bn").eval()
    state = {k: v.clone() for k, v in network.state_dict().items()}
    shown = [*image_batches(1), torch.rand(1, 4, 16, 16)] if fails else image_batches(1)
    if fails:
        with pytest.raises(RuntimeError):
            record(network, 2, shown, PLENTY)
    else:
        record(network, 2, shown, PLENTY)
    assert not any(m._forward_hooks for m in network.modules())
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    assert network.training
    assert [m for m in network.modules() if not m.training] == [frozen]


def test_error_by_hand() -> None:
    wanted = torch.tensor([0.0, 2.0, 0.0, 2.0])
    assert normalised_error((wanted,), (wanted,)).item() == 0
    mean = torch.full_like(wanted, 1.0)
    assert normalised_error((mean,), (wanted,)).item() == pytest.approx(1.0, rel=0.35)
    pair = normalised_error((wanted, mean), (wanted, wanted)).item()
    assert pair == pytest.approx(normalised_error((mean,), (wanted,)).item() / 2)
    scaled = normalised_error((10 * mean,), (10 * wanted,)).item()
    assert scaled == pytest.approx(normalised_error((mean,), (wanted,)).item())


def test_progress_ends_at_one() -> None:
    base, told = teacher(), list[float]()
    network, fresh = student(base)
    pairs = record(base, 2, image_batches(2), PLENTY)
    distil(network.model["2"], pairs, fresh, DistilConfig(steps=13, batch=4), 0, lambda f, _: told.append(f))
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_batches_need_not_divide_the_images() -> None:
    base = teacher()
    pairs = record(base, 2, image_batches(1, 7), PLENTY)
    exact = Pairs(pairs.inputs, pairs.outputs)
    assert error_of(base.model["2"], exact, 3) < 0.01


SWAPS = {
    1: Layer("b", "C2fCIB", (16, True), ("a",), origin="b"),
    2: Layer("c", "C2fCIB", (16, True), ("b",), origin="c"),
}


def fitted(network: Network, base: Network, position: int) -> dict[str, torch.Tensor]:
    """Fit one layer of a network; returns its state dict."""
    layer = network.model[str(position)]
    names = {name for name, _ in layer.named_parameters()}
    pairs = record(base, position, image_batches(4), PLENTY)
    distil(layer, pairs, names, DistilConfig(steps=5, batch=4), seed=0)
    return {key: value.clone() for key, value in layer.state_dict().items()}


def with_swaps(base: Network, *positions: int) -> Network:
    layout = BASE.swap([SWAPS[position] for position in positions])
    network = build(expand(layout), 3)
    inherit(network, layout, BASE, base.state_dict())
    return network


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_fitted_layer_does_not_depend_on_other_swaps(order: tuple[int, int]) -> None:
    """Bit for bit: each layer swapped and fitted alone, against both in one network, fitted in either order."""
    base = teacher()
    together = with_swaps(base, 1, 2)
    for n, position in enumerate(order):
        alone = fitted(with_swaps(base, position), base, position)
        torch.manual_seed(n)
        found = fitted(together, base, position)
        assert found.keys() == alone.keys()
        assert all(torch.equal(found[key], value) for key, value in alone.items())


class Noisy(nn.Module):
    """Draws random numbers in its forward pass, whatever its mode."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.scale * x + torch.rand_like(x),)


def test_a_layer_that_draws_random_numbers_draws_them_from_the_seed() -> None:
    x = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    results = []
    for n in range(2):
        torch.manual_seed(n)
        results.append(distil(Noisy(), Pairs((x,), (2 * x,)), {"scale"}, DistilConfig(steps=3, batch=4), seed=5))
    assert results[0] == results[1]


def test_modes_flags_and_gradients_are_restored() -> None:
    base = teacher()
    network, fresh = student(base)
    layer = network.train().model["2"]
    still = layer.get_submodule("cv1.bn").eval()
    kept = layer.get_parameter("cv2.conv.weight").requires_grad_(False)
    distil(layer, record(base, 2, image_batches(2), PLENTY), fresh, DistilConfig(steps=2, batch=4), seed=0)
    assert [m for m in network.modules() if not m.training] == [still]
    assert [p for p in network.parameters() if not p.requires_grad] == [kept]
    assert all(p.grad is None for p in network.parameters())


def test_nothing_to_train_ends_as_it_began() -> None:
    base = teacher()
    network, _ = student(base)
    found = distil(network.model["2"], record(base, 2, image_batches(), PLENTY), set(), DistilConfig(steps=5), seed=0)
    assert found.after == found.before
