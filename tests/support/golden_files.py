"""The golden tables as rows, and networks whose batch norms do something."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from torch import nn

from effscope.layouts.expand import expand
from effscope.nn.build import Network, build
from effscope.spec.layout import Layout

GOLDEN = Path(__file__).parents[1] / "golden"

Row = dict[str, str]


def golden(name: str, **wanted: str) -> list[Row]:
    """Rows of a golden csv without its comments, with these values in these columns (a prefix is enough)."""
    lines = (GOLDEN / name).read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    return [row for row in rows if all(row[key].startswith(value) for key, value in wanted.items())]


def with_random_norms(network: Network, seed: int = 0) -> Network:
    """The network in eval mode with batch norms that scale, shift and have seen something, in place."""
    random = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = module.num_features
            module.running_mean = torch.randn(size, generator=random) * 0.3
            module.running_var = torch.rand(size, generator=random) * 1.5 + 0.5
            module.weight.data.copy_(torch.rand(size, generator=random) + 0.5)
            module.bias.data.copy_(torch.randn(size, generator=random) * 0.3)
    return network.eval()


def conv_at(network: nn.Module, path: str) -> nn.Conv2d:
    """The convolution at a module path."""
    found = network.get_submodule(path)
    assert isinstance(found, nn.Conv2d)
    return found


def norm_at(network: nn.Module, path: str) -> nn.BatchNorm2d:
    """The batch norm at a module path."""
    found = network.get_submodule(path)
    assert isinstance(found, nn.BatchNorm2d)
    return found


def lively(layout: Layout, seed: int = 0) -> Network:
    """A built layout in eval mode with random weights and random batch norms."""
    return with_random_norms(build(expand(layout), seed), seed)
