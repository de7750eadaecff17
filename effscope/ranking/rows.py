"""Rows of a ranking: the measures of one convolution, or why it has no rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from effscope.ranking.convs import MAPS_OUT, RankedConv
from effscope.ranking.measured import Measured
from effscope.ranking.measures import MEASURES, is_spiked, rank_without_top
from effscope.ranking.null import Reference
from effscope.ranking.order import ordered, ties
from effscope.ranking.spectrum import Kernel, separability
from effscope.ranking.thresholds import cut, too_coarse
from effscope.results import Spectrum, StageRank
from effscope.spec.graph import Node
from effscope.thresholds import Threshold

DEPTHWISE = "depthwise: each filter reads one channel, so a rank of the weight has no meaning"
COARSE = "too coarse: at eps {:.2g} a rounding error can be as large as the largest value"
SINGLE = "one {} per group: the rank is 1 for any weights"
NO_MAPS = "no maps: only outputs of 2-d convolutions are ranked"
ONE_CHANNEL = "one output channel: the rank is 1 for any {}"


def reasons_without_rank(
    convs: Sequence[RankedConv], kernels: Mapping[str, Kernel], threshold: Threshold, *, of_weights: bool
) -> dict[int, str]:
    """Number of a convolution -> why it has no rank, "" if it has one."""
    found = {}
    for conv in convs:
        kernel = kernels[conv.node.name]
        reason = _no_rank_of_weights(kernel) if of_weights else _no_rank_of_outputs(conv.node, kernel)
        if conv.no_rank:
            found[conv.number] = conv.no_rank
        elif of_weights and too_coarse(threshold, kernel.shape, kernel.eps):
            found[conv.number] = COARSE.format(kernel.eps)
        else:
            found[conv.number] = reason
    return found


def _no_rank_of_weights(kernel: Kernel) -> str:
    shape = kernel.shape
    if shape.groups > 1 and kernel.weight.shape[1] == 1:
        return DEPTHWISE
    if not shape.values:
        return "no weights at all"
    if shape.rows == 1:
        return SINGLE.format("filter") if shape.groups > 1 else ONE_CHANNEL.format("weights")
    return SINGLE.format("weight") if shape.columns == 1 else ""


def _no_rank_of_outputs(node: Node, kernel: Kernel) -> str:
    if node.op not in MAPS_OUT:
        return NO_MAPS
    return "" if len(kernel.weight) > 1 else ONE_CHANNEL.format("outputs")


def row(
    found: Measured, threshold: Threshold, spatial_kernels: Mapping[str, Kernel], reference: Reference | None
) -> StageRank:
    """The row of a convolution with a rank.

    Args:
        found: its singular values.
        threshold: which values count.
        spatial_kernels: kernels by node name, for `separability`.
        reference: Gaussian maps of the same shape; None for outputs, which have no reference.
    """
    shape, counted = found.shape, found.cut(threshold)
    without_top = rank_without_top(found.values, shape, threshold, found.eps)
    null, null_sd = (
        reference.ratio(lambda values: cut(threshold, values, shape, found.eps).rank) if reference else (None, None)
    )
    one, two = _separability(found.conv, spatial_kernels)
    return StageRank(
        stage=found.conv.number,
        layer=found.kernel.name,
        shape=(found.kernel.shape.rows, found.kernel.shape.columns),
        c_out=found.c_out,
        rank=counted.rank,
        ratio=counted.rank / found.c_out,
        null_ratio=null,
        null_sd=null_sd,
        **{name: measure(found.values) for name, measure in MEASURES.items()},  # type: ignore[arg-type]
        threshold_tie=counted.tie,
        rank_without_top=without_top,
        spike=is_spiked(counted.rank, without_top, found.c_out),
        separability_1=one,
        separability_2=two,
        note=_note(found),
    )


def _separability(conv: RankedConv, kernels: Mapping[str, Kernel]) -> tuple[float | None, float | None]:
    """Shares of energy in one and two terms, mean over the spatial convolutions; None if there are none."""
    known = [shares for node in conv.spatial if (shares := separability(kernels[node.name])) is not None]
    return (fmean(one for one, _ in known), fmean(two for _, two in known)) if known else (None, None)


def _note(found: Measured) -> str:
    """How to read the rank, "" if there is nothing special."""
    if found.positions is not None and found.positions < found.c_out:
        return f"only {found.positions} positions for {found.c_out} channels: give more or larger images"
    groups = f"{found.shape.groups} groups: singular values of all groups together" if found.shape.groups > 1 else ""
    return "; ".join(filter(None, (found.conv.note, groups)))


def row_without_rank(conv: RankedConv, kernel: Kernel, reason: str) -> StageRank:
    """The row of a convolution without a rank."""
    shape = (kernel.shape.rows, kernel.shape.columns)
    return StageRank(conv.number, kernel.name, shape, len(kernel.weight), note=reason)


def sorted_rows(rows: Sequence[StageRank]) -> tuple[StageRank, ...]:
    """Rows in ascending ratio, then by stage number; rows without a rank come last. Fills in `tie`."""
    ratios = {row.stage: row.ratio for row in rows if row.ratio is not None}
    tied = {stage: tuple(k for k in group if k != stage) for group in ties(ratios) for stage in group}
    position = {stage: n for n, stage in enumerate(ordered(ratios))}
    known = [replace(row, tie=tied.get(row.stage, ())) for row in rows]
    return tuple(sorted(known, key=lambda row: (position.get(row.stage, len(position)), row.stage)))


def eps_note(found: Sequence[Measured]) -> tuple[str, ...]:
    """A note with the eps of the stored dtypes, for a threshold in units of eps."""
    known = sorted({m.kernel.eps for m in found})
    return (f"eps: {', '.join(f'{eps:.2g}' for eps in known)}, as stored",) if known else ()


def spectrum_row(found: Measured, reference: Reference | None) -> Spectrum:
    """The singular values of a convolution, and the mean values of a Gaussian map divided by their largest."""
    null = reference.expected() if reference else np.zeros(0)
    relative = null / null[0] if len(null) else null
    return Spectrum.rounded(found.conv.number, found.kernel.name, found.values.tolist(), relative.tolist())
