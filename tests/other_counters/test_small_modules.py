"""Our rules for other counters against the tools themselves, on small torch modules."""

from __future__ import annotations

import pytest
import torch
from support.counting_tools import differences
from torch import nn

from effscope.other_counters.compare import counters
from effscope.other_counters.run import crosscheck
from effscope.tracing.importer import import_module
from effscope.tracing.sources import is_fused


def shared(parents: int) -> nn.Module:
    """One convolution that several modules share and call."""
    conv = nn.Conv2d(3, 3, 3, padding=1)
    return nn.Sequential(*(nn.Sequential(conv, nn.ReLU()) for _ in range(parents)))


class MapAttention(nn.Module):
    """torch's attention over the positions of a map: self-attention, or attention to other tokens."""

    def __init__(self, crossed: bool, **options: bool) -> None:
        super().__init__()
        self.attention, self.crossed = nn.MultiheadAttention(4, 2, **options), crossed
        self.widen = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.widen(x).flatten(2).transpose(1, 2)
        others = tokens + 1 if self.crossed else tokens
        out: torch.Tensor = self.attention(tokens, others, others)[0]
        return out


class OverTokens(nn.Module):
    """A module that runs over the tokens of a map."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.inner(x.flatten(2).transpose(1, 2))
        return found[0] if isinstance(found, tuple) else found


class RecurrentCells(nn.Module):
    """Recurrent cells on the mean of a map."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.rnn = nn.LSTMCell(3, 4), nn.GRUCell(4, 5), nn.RNNCell(5, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.rnn(self.gru(self.lstm(x.mean((2, 3)))[0]))
        return found


class ConvSubclass(nn.Conv2d):
    """A subclass of a convolution."""


class FunctionalConv(nn.Module):
    """A call of a function with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight)


MODULES: dict[str, nn.Module] = {
    "shared by two": shared(2),
    "shared by three": shared(3),
    "called twice": nn.Sequential(*[nn.Conv2d(3, 3, 1)] * 2),
    "cells": RecurrentCells(),
    "padding by name": nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.Conv2d(4, 5, 3, padding="valid")),
    "a subclass": nn.Sequential(ConvSubclass(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU()),
    "a function": FunctionalConv(),
    "transposed": nn.Sequential(nn.ConvTranspose2d(3, 4, 2, 2), nn.ConvTranspose2d(4, 6, 3, groups=2)),
    "self-attention": MapAttention(False, batch_first=True),
    "cross-attention": MapAttention(True, batch_first=True),
    "attention, batch second": MapAttention(False),
    "an encoder layer": OverTokens(nn.TransformerEncoderLayer(3, 1, 8, batch_first=True)),
    "a fused encoder layer": nn.Sequential(
        nn.Conv2d(3, 4, 1), OverTokens(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True))
    ),
    "lstm": OverTokens(nn.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=True)),
    "gru": OverTokens(nn.GRU(3, 5, batch_first=True)),
    "rnn": OverTokens(nn.RNN(3, 5, batch_first=True)),
    "resampling": nn.Sequential(nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=2, mode="bilinear")),
    "pooling": nn.Sequential(nn.AvgPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(2), nn.MaxPool2d(2)),
    "a norm with a scale and no bias": nn.Sequential(nn.Conv2d(3, 4, 1), OverTokens(nn.LayerNorm(4, bias=False))),
    "norms without statistics": nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.InstanceNorm2d(3)),
    "pooling of rows": OverTokens(nn.Sequential(nn.AvgPool1d(1), nn.AdaptiveAvgPool1d(1))),
    "frozen attention": MapAttention(False, batch_first=True).requires_grad_(False),
    "norms": nn.Sequential(nn.GroupNorm(3, 3), nn.InstanceNorm2d(3), nn.Conv2d(3, 4, 1), nn.PReLU(4), nn.Softmax(1)),
}  # fmt: skip


@pytest.mark.parametrize("case", MODULES)
def test_small_modules_against_the_tools(case: str) -> None:
    module = MODULES[case].eval()
    imported = import_module(module, (1, 3, 8, 8), case)
    found = crosscheck(counters(imported.graph, imported.outline, 8), module)
    assert differences(found) == {}


def test_running_the_tools_restores_the_module() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    imported = import_module(module, (1, 3, 8, 8), "small")
    state = torch.get_rng_state()
    crosscheck(counters(imported.graph, imported.outline, 8), module)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert set(module.state_dict()) == set(before)
    assert module.training
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


@pytest.mark.parametrize(
    ("module", "fused"),
    [
        (nn.MultiheadAttention(4, 2, batch_first=True), True),
        (nn.MultiheadAttention(4, 2), False),
        (nn.MultiheadAttention(3, 1, batch_first=True), False),
        (nn.MultiheadAttention(4, 2, batch_first=True, bias=False), False),
        (nn.MultiheadAttention(4, 2, batch_first=True, add_bias_kv=True), False),
        (nn.MultiheadAttention(4, 2, batch_first=True, add_zero_attn=True), False),
        (nn.MultiheadAttention(4, 2, batch_first=True, kdim=3, vdim=3), False),
        (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), True),
        (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation=nn.functional.silu), False),
        (nn.Linear(4, 4), False),
    ],
)
def test_which_modules_torch_fuses(module: nn.Module, fused: bool) -> None:
    """FlopCounterMode counts nothing inside a fused module."""
    from torch.utils.flop_counter import FlopCounterMode

    assert is_fused(module) == fused
    tokens = torch.rand(1, 6, module.embed_dim if isinstance(module, nn.MultiheadAttention) else 4)
    keys = torch.rand(1, 6, 3) if getattr(module, "kdim", tokens.shape[-1]) == 3 and tokens.shape[-1] == 4 else tokens
    inputs = (tokens, keys, keys) if isinstance(module, nn.MultiheadAttention) else (tokens,)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(*inputs)
    assert (counter.get_total_flops() == 0) == fused
