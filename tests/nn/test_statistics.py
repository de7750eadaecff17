"""Recalibrated norms: the same function, and batches that meet the statistics they expect."""

from __future__ import annotations

import torch
from support.golden_files import with_random_norms
from torch import nn

from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import Network, build, view
from effscope.nn.statistics import recalibrate


def images(seed: int = 0) -> torch.Tensor:
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def network() -> Network:
    return view(with_random_norms(build(expand(layout("yolov8n"))), 3), "o2m")


def folded(norm: nn.BatchNorm2d) -> None:
    """As in a checkpoint whose norms were folded: only the bias does something."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.data.fill_(1)


def last_map(model: Network, shown: torch.Tensor) -> torch.Tensor:
    """The last map before the head, after its norm."""
    seen: list[torch.Tensor] = []
    hook = model.get_submodule("model.21.cv2.bn").register_forward_hook(lambda _, given, out: seen.append(out))
    with torch.no_grad():
        model(shown)
    hook.remove()
    return seen[0] - seen[0].mean((0, 2, 3), keepdim=True)


def test_the_function_stays_and_batches_meet_their_statistics() -> None:
    for prepare in (lambda norm: None, folded):
        model = network()
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            prepare(norm)
        before = last_map(model.eval(), images(7))
        recalibrate(model, [(images()[:2],), (images()[2:],)])
        after = last_map(model, images(7))
        assert torch.allclose(before, after, rtol=1e-3, atol=1e-3 * before.abs().max().item())
        assert not model.training
        seen = last_map(model, images())
        model.train()
        trained = last_map(model, images())
        assert (trained - seen).norm() < 1e-2 * seen.norm()


def test_without_it_folded_norms_destroy_the_network_in_training_mode() -> None:
    model = network()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            folded(module)
    seen = last_map(model.eval(), images())
    model.train()
    assert (last_map(model, images()) - seen).norm() > 0.3 * seen.norm()


def test_the_statistics_are_those_of_the_inputs() -> None:
    model = network()
    recalibrate(model, [(images(),)])
    norm = model.get_submodule("model.0.bn")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        given = model.get_submodule("model.0.conv")(images()).movedim(1, 0).flatten(1)
    assert torch.allclose(norm.running_mean, given.mean(1), atol=1e-5)
    assert torch.allclose(norm.running_var, given.var(1, unbiased=False), rtol=1e-4)


def test_no_image_changes_nothing() -> None:
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    recalibrate(model, [])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
