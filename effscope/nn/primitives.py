"""One torch module per primitive. Same keys as OPS and LAWS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Args = Mapping[str, Any]

BN_EPS = 1e-3
BN_MOMENTUM = 0.03


class Item(nn.Module):
    """Picks one part of a split."""

    def __init__(self, index: int):
        super().__init__()
        self.index = index

    def forward(self, x: tuple[Tensor, ...]) -> Tensor:
        return x[self.index]


class Add(nn.Module):
    """Sum of its inputs."""

    def forward(self, *xs: Tensor) -> Tensor:
        total = xs[0]
        for x in xs[1:]:
            total = total + x
        return total


class Concat(nn.Module):
    """Concatenation along one dimension."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, *xs: Tensor) -> Tensor:
        return torch.cat(xs, self.dim)


class Split(nn.Module):
    """Split into parts of given sizes along one dimension."""

    def __init__(self, sizes: tuple[int, ...], dim: int):
        super().__init__()
        self.sizes, self.dim = list(sizes), dim

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.split(x, self.sizes, self.dim)


class Transpose(nn.Module):
    """Two dimensions swapped."""

    def __init__(self, a: int, b: int):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(self.a, self.b)


class Detach(nn.Module):
    """No gradient flows back through it."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


class Float32Softmax(nn.Module):
    """Softmax in float32: half precision loses the tails the DFL expectation is made of."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x.float().softmax(self.dim)


def anchor_points(levels: tuple[Tensor, ...], strides: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Cell centres of all levels in cell units, float32 (2, A) as x, y, and the stride of each, (1, A)."""
    points, scales = [], []
    for level, stride in zip(levels, strides, strict=True):
        h, w = level.shape[2:]
        xs = torch.arange(w, device=level.device, dtype=torch.float32) + 0.5
        ys = torch.arange(h, device=level.device, dtype=torch.float32) + 0.5
        grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
        points.append(torch.stack([grid_x.flatten(), grid_y.flatten()]))
        scales.append(torch.full((1, h * w), float(stride), device=level.device))
    return torch.cat(points, 1), torch.cat(scales, 1)


class Dist2Box(nn.Module):
    """Distances (left, top, right, bottom) from cell centres, (B, 4, A) in cells, to boxes in px, xywh or xyxy."""

    def __init__(self, strides: tuple[int, ...], box_format: str):
        super().__init__()
        self.strides, self.box_format = tuple(strides), box_format

    def forward(self, distances: Tensor, *levels: Tensor) -> Tensor:
        points, scales = anchor_points(levels, self.strides)
        left_top, right_bottom = distances.float().chunk(2, 1)
        low, high = points - left_top, points + right_bottom
        corners = (low, high) if self.box_format == "xyxy" else ((low + high) / 2, high - low)
        return torch.cat(corners, 1) * scales


def _conv2d(args: Args) -> nn.Module:
    conv = nn.Conv2d(
        args["c_in"], args["c_out"], args["k"], args["s"], args["p"], args["d"], args["groups"], args["bias"]
    )
    if args["init"] == "arange":
        with torch.no_grad():
            conv.weight.copy_(torch.arange(conv.weight.numel(), dtype=torch.float32).view_as(conv.weight))
        conv.requires_grad_(False)
    if args["bias_init"] is not None and conv.bias is not None:
        nn.init.constant_(conv.bias, args["bias_init"])
    return conv


BUILDERS: dict[str, Callable[[Args], nn.Module]] = {
    "input": lambda a: nn.Identity(),
    "conv2d": _conv2d,
    "batchnorm": lambda a: nn.BatchNorm2d(a["c"], eps=BN_EPS, momentum=BN_MOMENTUM),
    "silu": lambda a: nn.SiLU(inplace=False),
    "sigmoid": lambda a: nn.Sigmoid(),
    "softmax": lambda a: Float32Softmax(a["dim"]),
    "maxpool": lambda a: nn.MaxPool2d(a["k"], a["s"], a["p"]),
    "upsample": lambda a: nn.Upsample(scale_factor=a["scale"], mode=a["mode"]),
    "add": lambda a: Add(),
    "concat": lambda a: Concat(a["dim"]),
    "split": lambda a: Split(a["sizes"], a["dim"]),
    "item": lambda a: Item(a["index"]),
    "flatten": lambda a: nn.Flatten(a["start"], a["end"]),
    "unflatten": lambda a: nn.Unflatten(a["dim"], a["sizes"]),
    "transpose": lambda a: Transpose(*a["dims"]),
    "detach": lambda a: Detach(),
    "dist2box": lambda a: Dist2Box(a["strides"], a["box_format"]),
}
"""Primitive name -> how its module is made from the node's arguments."""
