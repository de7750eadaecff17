"""Singular values of convolutions: from a Gram matrix in float64, or by SVD if the Gram matrix is too inexact.

A Gram matrix squares the values, so it loses those below 1.5e-8 of the largest. Above `GRAM_FLOOR` its error is under a
tenth of `TIE_BAND`. If a threshold is nearer to a value than that, the caller requests the SVD.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from effscope.errors import EffscopeError

Array = NDArray[np.float64]

TIE_BAND = 1e-6
"""A value within this distance of the threshold, relative to the largest value, is a tie; then the SVD decides."""

GRAM_FLOOR = 1e-6
"""Thresholds below this share of the largest value need the SVD: a Gram matrix is too inexact there."""

STACK = 1 << 21
"""Numbers in one stack of equal shapes (16 MiB): enough work for a core with little memory."""


@dataclass(frozen=True)
class MapShape:
    """A linear map between channels: `groups` blocks of (rows, columns) on the diagonal."""

    rows: int
    columns: int
    groups: int = 1

    @property
    def values(self) -> int:
        """Number of singular values."""
        return self.groups * min(self.rows, self.columns)


@dataclass(frozen=True)
class Kernel:
    """The weight of a convolution or linear layer, as stored.

    Attributes:
        name: name in messages.
        weight: (C_out, C_in / groups, ...), float16 to float64.
        scale: (C_out,) float64, the factor of each output channel in the following batch norm; None for 1.
        groups: groups of the convolution.
        eps: machine epsilon of the stored dtype.
    """

    name: str
    weight: NDArray[np.floating]
    scale: Array | None = None
    groups: int = 1
    eps: float = float(np.finfo(np.float32).eps)

    @property
    def shape(self) -> MapShape:
        """(C_out / groups, C_in / groups * kh * kw) for each group."""
        return MapShape(len(self.weight) // self.groups, int(np.prod(self.weight.shape[1:])), self.groups)

    def blocks(self) -> Array:
        """The scaled weight as float64 (groups, C_out / groups, C_in / groups * kh * kw).

        Raises:
            EffscopeError: NaN or infinite entries.
        """
        with np.errstate(all="ignore"):  # values that are not finite are refused below
            flat = self.weight.reshape(len(self.weight), self.shape.columns).astype(np.float64)
            if self.scale is not None:
                flat *= self.scale[:, None]
        if not np.isfinite(flat).all():
            finite_norm = self.scale is None or np.isfinite(self.scale).all()
            owner = "the weight" if finite_norm else "its batch norm"
            raise EffscopeError(f"{self.name}: {owner} holds NaN or infinite values: it has no rank")
        return flat.reshape(self.groups, self.shape.rows, self.shape.columns)


def one_thread() -> threadpool_limits:
    """A context with one LAPACK thread per problem: more threads slow small problems down."""
    return threadpool_limits(1, user_api="blas")


def spectra(kernels: Sequence[Kernel], needs_svd: Callable[[Kernel, Array], bool]) -> list[Array]:
    """Singular values of each kernel, descending; a grouped kernel has the values of all its groups.

    Kernels of one shape are one LAPACK call with one thread; the calls are spread over the cores.

    Args:
        kernels: finite weights.
        needs_svd: (kernel, values by Gram matrix) -> whether they are too inexact, so that the SVD is needed.

    Raises:
        EffscopeError: NaN or infinite entries; the message names the kernel.
    """
    found = {n: np.zeros(0) for n, kernel in enumerate(kernels) if not kernel.shape.values}

    def work(chunk: list[int]) -> None:
        blocks = [kernels[n].blocks() for n in chunk]
        for n, values, block in zip(chunk, _by_gram(blocks), blocks, strict=True):
            exact = _by_svd(block) if needs_svd(kernels[n], values) else values
            found[n] = np.sort(exact, axis=None)[::-1]

    with one_thread(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for done in [pool.submit(work, chunk) for chunk in _chunks(kernels)]:
            done.result()
    return [found[n] for n in range(len(kernels))]


def _chunks(kernels: Sequence[Kernel]) -> list[list[int]]:
    """Positions of kernels, in stacks of one shape; the largest stack first, so that no core waits long."""
    by_shape: dict[MapShape, list[int]] = {}
    for n, kernel in enumerate(kernels):
        if kernel.shape.values:
            by_shape.setdefault(kernel.shape, []).append(n)
    chunks = []
    for shape, members in by_shape.items():
        size = shape.groups * shape.rows * shape.columns
        at_once = max(1, STACK // max(size, 1))
        work = size * min(shape.rows, shape.columns)
        parts = [members[start : start + at_once] for start in range(0, len(members), at_once)]
        chunks += [(work * len(part), part) for part in parts]
    return [part for _, part in sorted(chunks, key=lambda c: -c[0])]


def _exponent(block: Array) -> int:
    """Exponent of the power of two that scales the largest entry to 1/2-1; such scaling is exact."""
    return int(np.frexp(np.abs(block).max(initial=0.0))[1])


def _by_gram(blocks: Sequence[Array]) -> list[Array]:
    exponents = [_exponent(block) for block in blocks]
    stack = np.concatenate([np.ldexp(block, -n) for block, n in zip(blocks, exponents, strict=True)])
    transposed = stack.transpose(0, 2, 1)
    gram = stack @ transposed if stack.shape[1] <= stack.shape[2] else transposed @ stack
    values = np.sqrt(np.clip(np.linalg.eigvalsh(gram)[:, ::-1], 0.0, None))
    parts = np.split(values, np.cumsum([len(block) for block in blocks])[:-1])
    return [np.ldexp(np.sort(part, axis=None)[::-1], n) for part, n in zip(parts, exponents, strict=True)]


def _by_svd(block: Array) -> Array:
    n = _exponent(block)
    return np.ldexp(np.linalg.svd(np.ldexp(block, -n), compute_uv=False), n)


def root_values(covariance: Array, name: str) -> Array:
    """Square roots of the eigenvalues of a symmetric matrix (C, C), descending.

    Args:
        covariance: (C, C); negative eigenvalues count as 0.
        name: name of the convolution, for messages.

    Raises:
        EffscopeError: NaN or infinite entries.
    """
    if not np.isfinite(covariance).all():
        raise EffscopeError(f"{name}: the outputs hold NaN or infinite values: they have no rank")
    return np.asarray(np.sqrt(np.clip(np.linalg.eigvalsh(covariance)[::-1], 0.0, None)))


def separability(kernel: Kernel) -> tuple[float, float] | None:
    """Shares of the energy (sum of squared weights) in the best one and two depthwise-separable terms, 0-1.

    A term is a depthwise convolution followed by a pointwise one. The best terms take the strongest singular vectors of
    the (C_out, kh*kw) filters of each input channel (arXiv 1808.05517). None for 1x1 and grouped kernels, and for zero
    weights.
    """
    taps = int(np.prod(kernel.weight.shape[2:]))
    if taps == 1 or kernel.groups > 1:
        return None
    block = kernel.blocks()
    weight = np.ldexp(block, -_exponent(block)).reshape(len(kernel.weight), -1, taps).transpose(1, 0, 2)
    energies = np.clip(np.linalg.eigvalsh(weight.transpose(0, 2, 1) @ weight), 0.0, None)
    total = energies.sum()
    one, two = (min(float(energies[:, -terms:].sum() / total), 1.0) if total > 0 else 0.0 for terms in (1, 2))
    return (one, two) if total > 0 else None
