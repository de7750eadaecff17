"""Torch modules for primitives that torch only has as functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from effscope.errors import EffscopeError
from effscope.spec import ops


class Item(nn.Module):
    """One output of a split."""

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
    """Split along one dimension into given sizes."""

    def __init__(self, sizes: tuple[int, ...], dim: int):
        super().__init__()
        self.sizes, self.dim = list(sizes), dim

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.split(x, self.sizes, self.dim)


class Transpose(nn.Module):
    """Swaps two dimensions."""

    def __init__(self, a: int, b: int):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(self.a, self.b)


class Detach(nn.Module):
    """Stops the gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


class Float32Softmax(nn.Module):
    """Softmax in float32: in half precision the tails, which the DFL expectation needs, are lost."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x.float().softmax(self.dim)


class MatMul(nn.Module):
    """Matrix product of the last two dimensions."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b


class Mul(nn.Module):
    """Product of two inputs."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b


class Attention(nn.Module):
    """v softmax(q^T k * scale)^T, with all tensors (..., channels, positions). The softmax is float32."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        """Attention weights (..., positions of q, positions of k); rows sum to 1."""
        return ((q.transpose(-2, -1) @ k).float() * self.scale).softmax(-1).to(q.dtype)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return v @ self.weights(q, k).transpose(-2, -1)


class ScaledAttention(nn.Module):
    """torch's scaled dot-product attention for (..., positions, channels); the fourth input may be a mask."""

    def __init__(self, scale: float | None, causal: bool):
        super().__init__()
        self.scale, self.causal = scale, causal

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=self.causal, scale=self.scale)


class Reduce(nn.Module):
    """Mean, sum or maximum over some dimensions; `kind` is the name of the torch function."""

    def __init__(self, kind: str, dims: tuple[int, ...], keep: bool):
        super().__init__()
        self.kind, self.dims, self.keep = kind, tuple(dims), keep

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = getattr(torch, self.kind)(x, self.dims, self.keep)
        return out


class EinSum(nn.Module):
    """torch.einsum of two tensors."""

    def __init__(self, equation: str):
        super().__init__()
        self.equation = equation

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.einsum(self.equation, a, b)


class GivenConv2d(nn.Module):
    """Convolution with weights (and a bias) as inputs."""

    def __init__(self, s: tuple[int, int], p: tuple[int, int], d: tuple[int, int], groups: int):
        super().__init__()
        self.s, self.p, self.d, self.groups = s, p, d, groups

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x, weight, bias, self.s, self.p, self.d, self.groups)


class SelfAttention(nn.MultiheadAttention):
    """Multi-head attention for (B, positions, channels) that returns only its output."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # type: ignore[override]
        out: Tensor = super().forward(q, k, v, need_weights=False)[0]
        return out


class ResizeAs(nn.Module):
    """Resizes a map to the height and width of another."""

    def __init__(self, mode: str):
        super().__init__()
        self.mode = mode

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        return F.interpolate(x, size=reference.shape[2:], mode=self.mode)


class ReshapeAs(nn.Module):
    """Positions (B, C, H*W) to a map with the height and width of another."""

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], *reference.shape[2:])


class Windows(nn.Module):
    """A map (B, C, H, W) to square windows (B, windows, C, positions), row by row; zeros at the right and bottom."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        m, (b, c, h, w) = self.size, x.shape
        cells = F.pad(x, (0, -w % m, 0, -h % m)).reshape(b, c, -(-h // m), m, -(-w // m), m)
        return cells.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c, m * m)


class Unwindow(nn.Module):
    """The inverse of `Windows`; a reference map has the height and width."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        m, (h, w), (b, _, c, _) = self.size, reference.shape[2:], x.shape
        rows, columns = -(-h // m), -(-w // m)
        cells = x.reshape(b, rows, columns, c, m, m).permute(0, 3, 1, 4, 2, 5)
        return cells.reshape(b, c, rows * m, columns * m)[..., :h, :w]


class SpaceToDepth(nn.Module):
    """The four pixels of each 2x2 cell to channels, in the order (row, column) = (0, 0), (1, 0), (0, 1), (1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]), 1)


class PosEmbed2d(nn.Module):
    """Sine and cosine encoding of a map's positions, (1, H*W, c): c/4 frequencies of the row, then of the column.

    Source: RT-DETR (arXiv 2304.08069), a 2D form of arXiv 1706.03762.
    """

    def __init__(self, c: int, temperature: float):
        super().__init__()
        self.c, self.temperature = c, temperature

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        quarter = self.c // 4
        omega = 1.0 / self.temperature ** (torch.arange(quarter, device=x.device, dtype=torch.float32) / quarter)
        xs = torch.arange(w, device=x.device, dtype=torch.float32)
        ys = torch.arange(h, device=x.device, dtype=torch.float32)
        grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
        parts = [grid.flatten()[:, None] * omega for grid in (grid_y, grid_x)]
        return torch.cat([f(part) for part in parts for f in (torch.sin, torch.cos)], 1)[None]


class TorchCall(nn.Module):
    """A torch operation of an imported model.

    Args:
        target: the aten overload, e.g. "view.default"; "" if only the tensors are known, then it cannot run.
        operands: positional arguments; a `Slot` marks the position of an input, also inside lists.
        keywords: arguments by name.
        tensors: its parameters, role -> TensorSpec; their slot numbers follow those of the inputs.
    """

    def __init__(
        self,
        target: str,
        operands: tuple[Any, ...],
        keywords: Mapping[str, Any],
        tensors: Mapping[str, ops.TensorSpec],
    ):
        super().__init__()
        self.target, self.operands, self.keywords = target, operands, dict(keywords)
        for role, tensor in tensors.items():
            parent: nn.Module = self
            *path, leaf = role.split(".")
            for name in path:
                if name not in parent._modules:
                    parent.add_module(name, nn.Module())
                parent = parent.get_submodule(name)
            parent.register_parameter(leaf, nn.Parameter(torch.zeros(tensor.shape)))

    def forward(self, *xs: Tensor) -> Any:
        if not self.target:
            raise EffscopeError(
                "effscope cannot run a layer of this model, only count it: its cost is listed as uncounted"
            )
        given = (*xs, *self.parameters())
        *space, name, overload = self.target.split(".")
        library = getattr(torch.ops, space[0] if space else "aten")
        keywords = {key: _filled(value, given) for key, value in self.keywords.items()}
        return getattr(getattr(library, name), overload)(*_filled(self.operands, given), **keywords)


def _filled(operands: Any, given: tuple[Tensor, ...]) -> Any:
    if isinstance(operands, ops.Slot):
        return given[operands.n]
    if isinstance(operands, tuple | list):
        return [_filled(part, given) for part in operands]
    return operands
