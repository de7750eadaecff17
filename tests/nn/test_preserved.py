"""Modes, attributes, hooks, tensors and the random state are as before, also after an error."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from effscope.errors import EffscopeError
from effscope.nn.preserved import (
    attributes_kept,
    eval_mode,
    modes_kept,
    preserved,
    requires_grad_kept,
    temporary_hooks,
    tensors_kept,
)


def frozen_norm() -> nn.Sequential:
    """A module in training mode with one batch norm in eval mode and one parameter without gradient."""
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    module[1].eval()
    module[0].bias.requires_grad_(False)  # type: ignore[union-attr]
    return module


def modes(module: nn.Module) -> list[bool]:
    return [part.training for part in module.modules()]


@pytest.mark.parametrize("fails", [False, True])
def test_mixed_modes_and_gradient_flags_are_restored(fails: bool) -> None:
    module = frozen_norm()
    flags = [p.requires_grad for p in module.parameters()]
    try:
        with eval_mode(module), requires_grad_kept(module):
            assert not any(modes(module))
            module.requires_grad_(False)
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert modes(module) == [True, True, False, True]
    assert [p.requires_grad for p in module.parameters()] == flags == [True, False, True, True]


def test_modes_may_change_inside() -> None:
    module = frozen_norm()
    with modes_kept(module):
        assert modes(module) == [True, True, False, True]
        module.train()
    assert modes(module) == [True, True, False, True]


def test_a_buffer_set_to_none_is_restored_as_the_same_tensor() -> None:
    norm = nn.BatchNorm2d(4)
    counter = norm.num_batches_tracked
    with attributes_kept([norm], "momentum", "num_batches_tracked"):
        norm.momentum, norm.num_batches_tracked = 0.0, None
        norm(torch.rand(2, 4, 3, 3))
    assert norm.num_batches_tracked is counter
    assert norm.momentum == 0.1
    assert torch.equal(norm.running_mean, torch.zeros(4))  # type: ignore[arg-type]


@pytest.mark.parametrize("fails", [False, True])
def test_hooks_of_any_kind_are_removed(fails: bool) -> None:
    module, seen = frozen_norm(), list[str]()
    handles = [
        module[0].register_forward_pre_hook(lambda *_: seen.append("before")),
        module[0].register_forward_hook(lambda *_: seen.append("after")),
    ]
    try:
        with temporary_hooks(handles):
            module(torch.rand(1, 3, 2, 2))
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    module(torch.rand(1, 3, 2, 2))
    assert seen == ["before", "after"]


def test_hooks_made_before_an_error_are_removed() -> None:
    """`temporary_hooks` may get a generator: if the second hook cannot be made, the first one is removed."""
    module = frozen_norm()
    parts = [module[0], None]
    with pytest.raises(AttributeError), temporary_hooks(p.register_forward_hook(print) for p in parts):  # type: ignore[union-attr]
        pass
    assert not module[0]._forward_hooks


def test_changed_and_replaced_tensors_are_restored() -> None:
    module = frozen_norm()
    weight, values = module[0].weight, module[0].weight.detach().clone()
    with tensors_kept(module):
        weight.data.zero_()
        with torch.no_grad():
            weight.add_(1)
        module[0].weight = nn.Parameter(torch.zeros(4, 3, 1, 1))
        module[1].running_mean = torch.ones(4)
    assert module[0].weight is weight
    assert torch.equal(weight, values)
    assert torch.equal(module[1].running_mean, torch.zeros(4))  # type: ignore[arg-type]


def test_an_unknown_path_is_an_error_and_changes_nothing() -> None:
    module = frozen_norm()
    with pytest.raises(EffscopeError, match="is not a module"), preserved(module, {"0": print, "9": print}):
        pass
    assert modes(module) == [True, True, False, True]
    assert not module[0]._forward_hooks
