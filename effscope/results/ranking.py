"""Ranks of a model's convolutions, how far their order can be trusted, and the redundancy of its attention heads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from effscope.results.base import Origin, Result


@dataclass(frozen=True)
class StageRank:
    """Rank of one convolution. What a rank means nothing for is None, and `note` says why.

    Attributes:
        stage: number of its stage; of itself where every convolution is ranked.
        layer: its name.
        shape: (rows, columns) of the matrix; of one group, where it has groups.
        c_out: output channels.
        rank: singular values that count by the result's threshold.
        ratio: rank / c_out, what stages are ordered by.
        null_ratio: mean ratio of Gaussian matrices of that shape.
        effective_rank: exp of the entropy of the singular values over their sum.
        stable_rank: sum of squares over the largest square.
        tie: stages with the same ratio.
        threshold_tie: a singular value sits at the threshold; rounding decides.
        note: why there is no rank, or how it is meant.
        null_sd: standard deviation of the ratio of a single Gaussian matrix of that shape.
        top_gap: largest over second largest singular value.
        rank_without_top: the rank when the largest value does not set the threshold.
        spike: one direction decides the count: `rank_without_top` adds over a tenth of the rows, and over three.
        separability_1: share of the energy one depthwise-separable term keeps, mean over the full convolutions
            larger than 1x1 of the stage; None without any.
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


@dataclass(frozen=True)
class OrderVariant:
    """The order another definition, or another model, gives.

    Attributes:
        name: what is changed, e.g. "threshold 0.3", "raw weights", "model last.pt".
        order: stages in ascending ratio.
        ties: groups of stages with equal ratios.
        tau: Kendall's tau-b against the result's own ratios; None where it is not defined.
    """

    name: str
    order: tuple[int, ...]
    ties: tuple[tuple[int, ...], ...] = ()
    tau: float | None = None


@dataclass(frozen=True)
class HeadUse:
    """What one attention head looks at, mean over images and positions.

    Attributes:
        layer: name of the attention.
        head: from 1.
        heads: how many the layer has.
        positions: how many positions each one chooses among.
        entropy: of the attention weights, nats.
        entropy_ratio: over that of uniform attention to what the mask allows, 0-1; 1 looks everywhere alike.
        similarity: mean over the other heads of 1 - Jensen-Shannon divergence / ln 2, 0-1; None for a single head.
        nearest: the most similar other head.
        nearest_similarity: of that pair.
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


@dataclass(frozen=True)
class Spectrum:
    """Singular values of a ranked convolution, descending, and those expected of a Gaussian one over their largest."""

    stage: int
    layer: str
    values: tuple[float, ...]
    null: tuple[float, ...] = ()


@dataclass(frozen=True)
class RankResult(Result):
    """Ranks of a model's stages in ascending order of ratio, equal ratios by stage number.

    Attributes:
        definition: what was counted: at, threshold, fold_bn, centred, whether weights are a "checkpoint" or "random",
            and of what (weights, or which images).
        order: stages that have a rank, ascending.
        ties: groups of stages with equal ratios.
        unsettled: groups of stages whose places another threshold, or folding (for activations centring), changes.
        stability: the orders of other thresholds, of folding the other way (centring, for activations), of random
            matrices of these shapes, of the other models given beside this one.
        attention: heads of its attention layers, where images were shown.
        notes: what a reader must know, one line each.
        spectra: the singular values themselves; in csv and plots, not in JSON.
    """

    model: str
    source: str
    definition: dict[str, Any]
    stages: tuple[StageRank, ...]
    order: tuple[int, ...]
    origin: Origin
    ties: tuple[tuple[int, ...], ...] = ()
    unsettled: tuple[tuple[int, ...], ...] = ()
    stability: tuple[OrderVariant, ...] = ()
    attention: tuple[HeadUse, ...] = ()
    notes: tuple[str, ...] = ()
    spectra: tuple[Spectrum, ...] = field(default=(), compare=False, repr=False, metadata={"json": False})

    TABLE: ClassVar[str] = "stages"
    ROWS: ClassVar[dict[str, type]] = {"stages": StageRank, "stability": OrderVariant, "attention": HeadUse}

    def ratios(self) -> dict[int, float]:
        """Stage -> ratio, of the stages that have one."""
        return {row.stage: row.ratio for row in self.stages if row.ratio is not None}
