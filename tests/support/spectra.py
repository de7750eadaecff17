"""Matrices with chosen singular values, and the singular values by a plain float64 SVD."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from effscope.ranking.spectrum import Array, Kernel


def rotation(random: np.random.Generator, n: int) -> Array:
    """A random orthogonal matrix."""
    return np.asarray(np.linalg.qr(random.standard_normal((n, n)))[0])


def made_of(values: Sequence[float], rows: int, columns: int, seed: int) -> Array:
    """A matrix with these singular values; the others are zero."""
    random = np.random.default_rng(seed)
    n = len(values)
    return np.asarray((rotation(random, rows)[:, :n] * values) @ rotation(random, columns)[:n])


def kernel(matrix: Array, k: int = 1, groups: int = 1, scale: Array | None = None, eps: float = 2.0**-23) -> Kernel:
    """A matrix (C_out, C_in / groups * k * k) as the weight of a k x k convolution."""
    return Kernel("made", matrix.reshape(len(matrix), matrix.shape[1] // (k * k), k, k), scale, groups, eps)


def svd(kernel: Kernel) -> Array:
    """Singular values of a kernel, descending, by a plain SVD."""
    blocks = kernel.blocks()
    return np.sort(np.linalg.svd(blocks, compute_uv=False), axis=None)[::-1] if blocks.size else np.zeros(0)
