"""Ranks of a model's convolutions, the stability of their order, and the redundancy of its attention heads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from effscope.config import RankConfig
from effscope.results.base import Origin, Result
from effscope.results.showing import listed


@dataclass(frozen=True)
class StageRank:
    """Rank of one convolution. If a rank has no meaning, the numbers are None and `note` says why.

    Attributes:
        stage: number of the stage, or of the convolution if every convolution is ranked.
        layer: module path.
        shape: (rows, columns) of the matrix; for a grouped convolution, of one group.
        c_out: output channels.
        rank: number of singular values above the threshold.
        ratio: rank / c_out; stages are ordered by it.
        null_ratio: mean ratio of Gaussian matrices of this shape.
        effective_rank: exp of the entropy of (singular values / their sum).
        stable_rank: sum of the squares / the largest square.
        tie: stages with the same ratio.
        threshold_tie: a singular value is equal to the threshold; rounding decides.
        note: why there is no rank, or how to read it.
        null_sd: standard deviation of the ratio of one Gaussian matrix of this shape.
        top_gap: largest / second largest singular value.
        rank_without_top: rank if the threshold is relative to the second largest value.
        spike: the largest value decides the count: `rank_without_top` is larger by more than 3 and by more than a
            tenth of the rows.
        separability_1: share of the energy that one depthwise-separable term keeps, mean over the full convolutions
            larger than 1x1 of the stage; None if there are none.
        separability_2: the same for two terms.
    """

    stage: int
    layer: str
    shape: tuple[int, ...]
    c_out: int
    rank: int | None = None
    ratio: float | None = None
    null_ratio: float | None = None
    effective_rank: float | None = None
    stable_rank: float | None = None
    tie: tuple[int, ...] = ()
    threshold_tie: bool = False
    note: str = ""
    null_sd: float | None = None
    top_gap: float | None = None
    rank_without_top: int | None = None
    spike: bool = False
    separability_1: float | None = None
    separability_2: float | None = None


SHAPES = "random matrices of these shapes"
"""Name of the order of random matrices."""

RELATIVE = "ratio over random"
"""Name of the order by ratio / null ratio."""

OTHER_THRESHOLD, OTHER_MODEL = "threshold ", "model "
"""How the names of orders by other thresholds, and in other models, begin."""


@dataclass(frozen=True)
class OrderVariant:
    """The order of the stages by another definition, or in another model.

    Attributes:
        name: what differs, e.g. "threshold 0.3", "raw weights", "model last.pt".
        order: stages in ascending ratio.
        ties: groups of stages with equal ratios.
        tau: Kendall's tau-b against the ratios of the result; None if it is not defined.
    """

    name: str
    order: tuple[int, ...]
    ties: tuple[tuple[int, ...], ...] = ()
    tau: float | None = None

    @property
    def is_definition(self) -> bool:
        """Whether this is another definition of the rank of the same weights or outputs."""
        return self.name not in (SHAPES, RELATIVE) and not self.name.startswith(OTHER_MODEL)

    def lowest(self, n: int) -> frozenset[int]:
        """Stages that are among the `n` of lowest ratio, whatever the order of equal ones."""
        first = frozenset(self.order[:n])
        return first.difference(*(group for group in self.ties if not first.issuperset(group)))


@dataclass(frozen=True)
class HeadUse:
    """Statistics of one attention head, mean over images and positions.

    Attributes:
        layer: module path of the attention.
        head: number of the head, from 1.
        heads: number of heads in the layer.
        positions: number of positions that a head attends to.
        entropy: entropy of the attention weights, in nats.
        entropy_ratio: entropy / that of uniform attention under the same mask, 0-1; 1 is uniform.
        similarity: mean over the other heads of 1 - Jensen-Shannon divergence / ln 2, 0-1; None for a single head.
        nearest: the most similar other head.
        nearest_similarity: similarity to that head.
    """

    layer: str
    head: int
    heads: int
    positions: int
    entropy: float
    entropy_ratio: float
    similarity: float | None = None
    nearest: int | None = None
    nearest_similarity: float | None = None


DIGITS = 6
"""Significant digits of the singular values in a result."""


@dataclass(frozen=True)
class Spectrum:
    """Singular values of a convolution, descending. `null`: those of a Gaussian matrix of its shape / their largest."""

    stage: int
    layer: str
    values: tuple[float, ...]
    null: tuple[float, ...] = ()

    @classmethod
    def rounded(cls, stage: int, layer: str, values: Iterable[float], null: Iterable[float] = ()) -> Spectrum:
        """A spectrum rounded to `DIGITS` significant digits."""
        return cls(stage, layer, tuple(map(_rounded, values)), tuple(map(_rounded, null)))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


@dataclass(frozen=True)
class RankDefinition:
    """What a rank counts.

    Attributes:
        at: "stage" (closing conv of the stage), "block" (last conv of its last block) or "all" convolutions.
        threshold: fraction of the largest singular value, or a text: "energy:0.9", "eps", "mp".
        fold_bn: whether the batch norm is folded into the weight.
        centred: whether the mean is subtracted from activations.
        weights: "checkpoint" or "random".
        of: "weights", or a description of the activations and images.
    """

    at: str
    threshold: float | str
    fold_bn: bool
    centred: bool
    weights: str
    of: str


@dataclass(frozen=True, repr=False)
class RankResult(Result):
    """Ranks of a model's stages in ascending order of ratio, equal ratios by stage number.

    Attributes:
        order: stages that have a rank, ascending.
        ties: groups of stages with equal ratios.
        unsettled: groups of stages with an order that depends on the threshold, or on folding (activations: centring).
        stability: the orders for other thresholds, with folding (activations: centring) switched, for random matrices
            of these shapes, and for the other models of the same call.
        attention: attention heads, if images were given.
        notes: notes for the reader, one line each.
        spectra: the singular values.
    """

    model: str
    source: str
    definition: RankDefinition
    stages: tuple[StageRank, ...]
    order: tuple[int, ...]
    origin: Origin[RankConfig]
    ties: tuple[tuple[int, ...], ...] = ()
    unsettled: tuple[tuple[int, ...], ...] = ()
    stability: tuple[OrderVariant, ...] = ()
    attention: tuple[HeadUse, ...] = ()
    notes: tuple[str, ...] = ()
    spectra: tuple[Spectrum, ...] = ()

    KIND: ClassVar[str] = "rank"
    TABLE: ClassVar[str] = "stages"
    SHOWN: ClassVar = (
        "stage",
        "layer",
        "shape",
        "rank",
        "ratio",
        "null_ratio",
        "effective_rank",
        "stable_rank",
        "note",
    )

    def lines(self) -> tuple[str, ...]:
        """What was ranked, the order, and the lowest rank."""
        made, by_stage = self.definition, {row.stage: row for row in self.stages}
        of = f"{made.weights} {made.of}" if made.of == "weights" else made.of
        first = f"{self.model}, {of}, threshold {made.threshold}, at {made.at}"
        if not self.order:
            return first, "no rank"
        lowest = by_stage[self.order[0]]
        return (
            first,
            f"lowest ratio of rank to output channels first: {listed(self.order, 12)}",
            f"{lowest.stage} ({lowest.layer}): rank {lowest.rank} of {lowest.c_out}",
        )

    def ratios(self) -> dict[int, float]:
        """Stage -> ratio, for the stages with a ratio."""
        return {row.stage: row.ratio for row in self.stages if row.ratio is not None}

    def same_layers(self, other: RankResult) -> frozenset[int]:
        """Stages with the same module path in both models."""
        layers = {row.stage: row.layer for row in self.stages}
        return frozenset(row.stage for row in other.stages if layers.get(row.stage) == row.layer)
