"""Approximate a convolution by depthwise kernels and pointwise weights, given the moments of its inputs.

Sources: network decoupling (arXiv 1808.05517: a kernel is a sum of separable terms); docs/background.md, "Inheriting
weights". A kernel is (c_out, c_in, k*k) here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from effscope.transplant.sums import Moments, ridged

FLOOR = 1e-6
"""Variance added to every pixel of a patch, relative to the mean variance, so that a covariance can be inverted."""

ROUNDS, FEW_ROUNDS = 12, 2
"""Rounds of alternating least squares: with one term per channel; with several, where more rounds gain little."""


@dataclass(frozen=True)
class Separable:
    """A sum of separable terms, one per slot: slot s reads channel `channels[s]`.

    Attributes:
        pointwise: (c_out, slots), float64.
        depthwise: (slots, k*k), float64.
        channels: (slots,), input channel of each slot.
        errors: error after each round of alternating least squares: squared error / variance of the targets.
    """

    pointwise: Tensor
    depthwise: Tensor
    channels: Tensor
    errors: tuple[float, ...] = ()


def terms(kernel: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Singular value decomposition of each input channel's kernels, weighted with the covariance of its patches.

    Args:
        kernel: (c_out, c_in, k*k).
        covariance: (c_in, k*k, k*k).

    Returns:
        Pointwise weights (c_in, terms, c_out), depthwise kernels (c_in, terms, k*k) with responses of unit variance,
        strengths (c_in, terms) in descending order. The first t terms of a channel are its best t.
    """
    root = _root(covariance)
    u, s, vt = torch.linalg.svd(kernel.transpose(0, 1) @ root, full_matrices=False)
    return (u * s[:, None, :]).mT, torch.linalg.solve(root, vt, left=False), s


def _root(covariance: Tensor) -> Tensor:
    """Symmetric square roots; the identity for a channel that does not vary."""
    values, vectors = torch.linalg.eigh(covariance)
    mean = values.clamp_min(0).mean(1, keepdim=True)
    safe = torch.where(mean > 0, values.clamp_min(0) + FLOOR * mean, torch.ones_like(values))
    root: Tensor = vectors * safe.sqrt()[:, None] @ vectors.mT
    return root


def allot(strength: Tensor, slots: int) -> list[tuple[int, int]]:
    """Share slots among terms: each channel gets its first term, the strongest other terms get the remaining slots.

    Args:
        strength: (channels, terms), descending per channel.
        slots: number of slots, at least the number of channels. With more slots than terms, first terms repeat.

    Returns:
        (channel, term) of each slot, by term, then by channel.
    """
    n, n_terms = strength.shape
    first = [(i, 0) for i in range(n)]
    rest = sorted(((i, t) for t in range(1, n_terms) for i in range(n)), key=lambda at: -float(strength[at]))
    rest += [first[i % n] for i in range(slots - n - len(rest))]
    return first + sorted(rest[: slots - n], key=lambda at: (at[1], at[0]))


def separate(kernel: Tensor, moments: Moments, slots: int, masks: Tensor) -> Separable:
    """Approximate a convolution by `slots` separable terms: weighted SVD, then alternating least squares.

    Args:
        kernel: (c_out, c_in, k*k), where the search begins.
        moments: of the patches (c_in*k*k) and of the wanted responses (c_out).
        slots: number of depthwise kernels, at least c_in.
        masks: (slots, k*k), True where a depthwise kernel may differ from 0.
    """
    _, c_in, k = kernel.shape
    start = kernel.double().cpu()
    blocks = moments.xx.view(c_in, k, c_in, k).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    pointwise, depthwise, strength = terms(start, blocks)
    chosen = allot(strength, slots)
    channels, ranks = (torch.tensor([pair[n] for pair in chosen]) for n in (0, 1))
    begin = Separable(pointwise[channels, ranks].T, depthwise[channels, ranks] * masks, channels)
    return _alternated(begin, moments, masks, ROUNDS if slots == c_in else FEW_ROUNDS)


def _alternated(begin: Separable, moments: Moments, allowed: Tensor, rounds: int) -> Separable:
    """Alternating least squares; the best round is kept."""
    slots, k = begin.depthwise.shape
    index = (begin.channels[:, None] * k + torch.arange(k)).flatten()
    xx, xy, free = moments.xx[index][:, index], moments.xy[index], allowed.flatten().nonzero().flatten()
    total = moments.yy.sum().clamp_min(1e-30)
    depthwise, pointwise, errors = begin.depthwise, begin.pointwise, []
    best = (float("inf"), pointwise, depthwise)
    for _ in range(rounds):
        spread = _block_diagonal(depthwise)
        zz, zy = spread @ xx @ spread.T, spread @ xy
        pointwise = _solved(zz, zy, pointwise.T).T
        error = float((total - 2 * (pointwise.T * zy).sum() + (pointwise @ zz * pointwise).sum()) / total)
        errors.append(error)
        if error < best[0]:
            best = (error, pointwise, depthwise)
        joint = (pointwise.T @ pointwise).repeat_interleave(k, 0).repeat_interleave(k, 1) * xx
        wanted = torch.einsum("os,sao->sa", pointwise, xy.view(slots, k, -1)).flatten()
        depthwise = depthwise.flatten().clone()
        depthwise[free] = _solved(joint[free][:, free], wanted[free], depthwise[free])
        depthwise = depthwise.view(slots, k)
    return Separable(best[1], best[2], begin.channels, tuple(errors))


def _block_diagonal(depthwise: Tensor) -> Tensor:
    """(slots, slots*k) with the kernel of slot s in row s."""
    slots, k = depthwise.shape
    spread = depthwise.new_zeros(slots, slots, k)
    spread[torch.arange(slots), torch.arange(slots)] = depthwise
    return spread.flatten(1)


def _solved(matrix: Tensor, wanted: Tensor, prior: Tensor) -> Tensor:
    """The solution of matrix @ x = wanted, held at the prior in directions without variance."""
    step: Tensor = torch.linalg.solve(ridged(matrix, FLOOR), wanted - matrix @ prior)
    return prior + step


def one_term_per_output(kernel: Tensor, moments: Moments) -> Tensor:
    """Pointwise weights (c_out, c_in) of the best separable term of each output, for a depthwise after the pointwise.

    Args:
        kernel: (c_out, c_in, k*k), where the search begins.
        moments: of the patches (c_in*k*k) and of the wanted outputs (c_out).
    """
    c_out, c_in, k = kernel.shape
    xx, xy = moments.xx.view(c_in, k, c_in, k), moments.xy.view(c_in, k, c_out)
    spatial = torch.einsum("iaib->ab", xx).expand(c_out, k, k)
    depthwise = terms(kernel.transpose(0, 1), spatial)[1][:, 0]
    pointwise = torch.zeros(c_out, c_in, dtype=torch.float64)
    for o in range(c_out):
        d, p = depthwise[o], pointwise[o]
        for _ in range(ROUNDS):
            p = _solved(torch.einsum("iajb,a,b->ij", xx, d, d), xy[:, :, o] @ d, p)
            d = _solved(torch.einsum("iajb,i,j->ab", xx, p, p), p @ xy[:, :, o], d)
        pointwise[o] = p
    return pointwise


def responses(depthwise: Tensor, channels: Tensor, moments: Moments) -> tuple[Tensor, Tensor]:
    """Mean and variance, (slots,), of the responses of depthwise kernels to patches with these moments."""
    k = depthwise.shape[1]
    index = channels[:, None] * k + torch.arange(k)
    mean = (depthwise * moments.x[index]).sum(1)
    covariance = moments.xx[index[:, :, None], index[:, None, :]]
    return mean, torch.einsum("sa,sab,sb->s", depthwise, covariance, depthwise).clamp_min(0)
