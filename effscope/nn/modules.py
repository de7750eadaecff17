"""One torch module per primitive. BUILDERS has the same keys as OPS and LAWS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from effscope.nn.anchor_points import anchor_points
from effscope.nn.function_modules import (
    Add,
    Attention,
    Concat,
    Detach,
    EinSum,
    Float32Softmax,
    GivenConv2d,
    Item,
    MatMul,
    Mul,
    PosEmbed2d,
    Reduce,
    ReshapeAs,
    ResizeAs,
    ScaledAttention,
    SelfAttention,
    SpaceToDepth,
    Split,
    TorchCall,
    Transpose,
    Unwindow,
    Windows,
)

Args = Mapping[str, Any]


def _centres(levels: Sequence[Tensor], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """`anchor_points` of maps (B, C, H, W)."""
    return anchor_points([level.shape[2:] for level in levels], strides, levels[0].device)


class Dist2Box(nn.Module):
    """Distances (left, top, right, bottom) from cell centres in cells, (B, 4, A), to boxes in px, xywh or xyxy."""

    def __init__(self, strides: tuple[int, ...], box_format: str):
        super().__init__()
        self.strides, self.box_format = tuple(strides), box_format

    def forward(self, distances: Tensor, *levels: Tensor) -> Tensor:
        points, scales = _centres(levels, self.strides)
        left_top, right_bottom = distances.float().chunk(2, 1)
        low, high = points - left_top, points + right_bottom
        corners = (low, high) if self.box_format == "xyxy" else ((low + high) / 2, high - low)
        return torch.cat(corners, 1) * scales


class Anchor2Box(nn.Module):
    """YOLOv5's anchor decoding: logits (B, 4, A) of centre and size to boxes xywh in px.

    The order of anchors is level, anchor shape, cell. Source: formula of the YOLOv5 repository:
    centre (2*sigmoid - 0.5 + cell) * stride, size (2*sigmoid)^2 * anchor.
    """

    def __init__(self, strides: tuple[int, ...], anchors: tuple[tuple[tuple[float, float], ...], ...]):
        super().__init__()
        self.strides, self.anchors = tuple(strides), tuple(anchors)

    def forward(self, logits: Tensor, *levels: Tensor) -> Tensor:
        points, scales, sizes = [], [], []
        for level, stride, shapes in zip(levels, self.strides, self.anchors, strict=True):
            cells, scale = _centres((level,), (stride,))
            points.append((cells - 0.5).repeat(1, len(shapes)))
            scales.append(scale.repeat(1, len(shapes)))
            sizes.append(torch.tensor(shapes, device=logits.device).T.repeat_interleave(cells.shape[1], 1))
        centre, size = (2 * logits.float().sigmoid()).chunk(2, 1)
        return torch.cat(
            ((centre - 0.5 + torch.cat(points, 1)) * torch.cat(scales, 1), size**2 * torch.cat(sizes, 1)), 1
        )


class Cell2Box(nn.Module):
    """YOLOX's decoding: values (B, 4, A) of centre and size to boxes xywh in px.

    Source: arXiv 2107.08430: centre (value + cell) * stride, with cells from 0; size exp(value) * stride.
    """

    def __init__(self, strides: tuple[int, ...]):
        super().__init__()
        self.strides = tuple(strides)

    def forward(self, values: Tensor, *levels: Tensor) -> Tensor:
        points, scales = _centres(levels, self.strides)
        centre, size = values.float().chunk(2, 1)
        return torch.cat((centre + points - 0.5, size.exp()), 1) * scales


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


BUILDERS: dict[str, Callable[[Args], nn.Module | Tensor]] = {
    "input": lambda a: nn.Identity(),
    "conv2d": _conv2d,
    "parameter": lambda a: nn.Parameter(torch.full(a["shape"], float(a["value"]))),
    "conv2d_given": lambda a: GivenConv2d(a["s"], a["p"], a["d"], a["groups"]),
    "conv_transpose2d": lambda a: nn.ConvTranspose2d(
        a["c_in"], a["c_out"], a["k"], a["s"], a["p"], a["op"], a["groups"], a["bias"], a["d"]
    ),
    "linear": lambda a: nn.Linear(a["c_in"], a["c_out"], a["bias"]),
    "matmul": lambda a: MatMul(),
    "einsum": lambda a: EinSum(a["equation"]),
    "attention": lambda a: Attention(a["scale"]),
    "sdpa": lambda a: ScaledAttention(a["scale"], a["causal"]),
    "mha": lambda a: SelfAttention(a["c"], a["heads"], batch_first=True),
    "batchnorm": lambda a: nn.BatchNorm2d(a["c"], a["eps"], a["momentum"], a["affine"]),
    "layernorm": lambda a: nn.LayerNorm(a["c"], a["eps"], a["affine"]),
    "groupnorm": lambda a: nn.GroupNorm(a["groups"], a["c"], a["eps"], a["affine"]),
    "silu": lambda a: nn.SiLU(),
    "sigmoid": lambda a: nn.Sigmoid(),
    "relu": lambda a: nn.ReLU(),
    "relu6": lambda a: nn.ReLU6(),
    "leaky_relu": lambda a: nn.LeakyReLU(a["slope"]),
    "hardsigmoid": lambda a: nn.Hardsigmoid(),
    "hardswish": lambda a: nn.Hardswish(),
    "gelu": lambda a: nn.GELU(),
    "tanh": lambda a: nn.Tanh(),
    "mish": lambda a: nn.Mish(),
    "softmax": lambda a: Float32Softmax(a["dim"]),
    "maxpool": lambda a: nn.MaxPool2d(a["k"], a["s"], a["p"], ceil_mode=a["ceil"]),
    "avgpool": lambda a: nn.AvgPool2d(a["k"], a["s"], a["p"], a["ceil"]),
    "reduce": lambda a: Reduce(a["kind"], a["dims"], a["keep"]),
    "adaptive_avgpool": lambda a: nn.AdaptiveAvgPool2d(a["size"]),
    "pad": lambda a: nn.ConstantPad2d(a["sides"], a["value"]),
    "upsample": lambda a: nn.Upsample(scale_factor=a["scale"], mode=a["mode"]),
    "resize_as": lambda a: ResizeAs(a["mode"]),
    "space_to_depth": lambda a: SpaceToDepth(),
    "windows": lambda a: Windows(a["size"]),
    "unwindow": lambda a: Unwindow(a["size"]),
    "add": lambda a: Add(),
    "broadcast_add": lambda a: Add(),
    "mul": lambda a: Mul(),
    "concat": lambda a: Concat(a["dim"]),
    "split": lambda a: Split(a["sizes"], a["dim"]),
    "item": lambda a: Item(a["index"]),
    "flatten": lambda a: nn.Flatten(a["start"], a["end"]),
    "unflatten": lambda a: nn.Unflatten(a["dim"], a["sizes"]),
    "transpose": lambda a: Transpose(*a["dims"]),
    "reshape_as": lambda a: ReshapeAs(),
    "detach": lambda a: Detach(),
    "dist2box": lambda a: Dist2Box(a["strides"], a["box_format"]),
    "anchor2box": lambda a: Anchor2Box(a["strides"], a["anchors"]),
    "cell2box": lambda a: Cell2Box(a["strides"]),
    "posembed2d": lambda a: PosEmbed2d(a["c"], a["temperature"]),
    "constant": lambda a: torch.zeros(a["shape"], dtype=getattr(torch, a["dtype"])),
    "view": lambda a: TorchCall(a["target"], a["operands"], a["keywords"], {}),
    "copy": lambda a: TorchCall(a["target"], a["operands"], a["keywords"], {}),
    "elementwise": lambda a: TorchCall(a["target"], a["operands"], a["keywords"], {}),
    "opaque": lambda a: TorchCall(a["target"], a["operands"], a["keywords"], a["tensors"]),
}
"""Primitive name -> function from the node's arguments to its module or tensor."""
