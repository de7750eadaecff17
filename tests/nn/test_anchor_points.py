"""Centres of cells: order, units, type."""

from __future__ import annotations

import torch

from effscope.nn.anchor_points import anchor_points


def test_cells_go_row_by_row_and_level_by_level() -> None:
    cells, strides = anchor_points([(1, 2), (2, 1), (1, 1)], [8, 16, 32])
    assert cells.T.tolist() == [[0.5, 0.5], [1.5, 0.5], [0.5, 0.5], [0.5, 1.5], [0.5, 0.5]]
    assert strides.tolist() == [[8, 8, 16, 16, 32]]
    assert (cells * strides).T.tolist() == [[4, 4], [12, 4], [8, 8], [8, 24], [16, 16]]
    assert cells.dtype == strides.dtype == torch.float32
