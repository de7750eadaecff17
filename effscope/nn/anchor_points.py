"""Centres of the cells of a detector's output maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def anchor_points(
    sizes: Sequence[Sequence[int]], strides: Sequence[int], device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Centres of all cells, level after level, row by row.

    Args:
        sizes: (height, width) of each level, in cells.
        strides: stride of each level in px.
        device: device of the result.

    Returns:
        centres in cells, float32 (2, A) as x, y; and strides in px, float32 (1, A). Their product is the centres in px.
    """
    points, scales = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        xs = torch.arange(width, device=device, dtype=torch.float32) + 0.5
        ys = torch.arange(height, device=device, dtype=torch.float32) + 0.5
        grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
        points.append(torch.stack([grid_x.flatten(), grid_y.flatten()]))
        scales.append(torch.full((1, height * width), float(stride), device=device))
    return torch.cat(points, 1), torch.cat(scales, 1)
