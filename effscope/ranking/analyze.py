"""Ranks of the convolutions of a network: of their weights, or of their outputs over images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from effscope.config import RankConfig
from effscope.errors import EffscopeError
from effscope.nn.build import Network
from effscope.ranking.collect import Collected, collect
from effscope.ranking.convs import RankedConv, layout_convs
from effscope.ranking.measured import Measured, measured_outputs, measured_weights
from effscope.ranking.null import Reference
from effscope.ranking.rows import eps_note, reasons_without_rank, row, row_without_rank, sorted_rows, spectrum_row
from effscope.ranking.spectrum import one_thread
from effscope.ranking.stability import other_thresholds, with_stability
from effscope.ranking.thresholds import check_for_outputs
from effscope.results import RankDefinition, RankResult, origin
from effscope.spec.layout import Layout
from effscope.thresholds import Threshold, read_threshold


@dataclass(frozen=True)
class ModelFacts:
    """Facts on a model, for the result.

    Attributes:
        model: name.
        digest: hash of its layout or graph.
        weights: "checkpoint" or "random".
        source: one line on where the weights come from.
        of: "weights", or a description of the outputs and images.
    """

    model: str
    digest: str
    weights: str
    source: str = ""
    of: str = "weights"


@dataclass(frozen=True)
class _Values:
    """Singular values by the definition of the result and by its opposite, and the name of the opposite."""

    found: list[Measured]
    others: list[Measured]
    other: str


def rank(
    network: Network,
    layout: Layout,
    config: RankConfig,
    *,
    weights: str = "checkpoint",
    source: str = "",
    of: str = "weights",
    images: Iterable[Tensor] | None = None,
) -> RankResult:
    """Numerical rank of every stage of a network, in ascending order.

    Args:
        network: built from the layout.
        layout: its stages are ranked.
        config: which convolution (of the stage, of its last block, or all), threshold, folding.
        weights: "checkpoint" or "random", for the result.
        source: one line on where the weights come from, for the result.
        of: "weights", or a description of the outputs and images, for the result.
        images: batches (B, 3, H, W), float within 0-1: rank the outputs (their channel covariance), not the weights.

    Raises:
        EffscopeError: a model without stages, weights that are not finite, or an invalid threshold.
    """
    convs = layout_convs(network.spec, layout, config.at)
    collected = collect(
        network.spec, network.state_dict(), convs, fold_bn=config.fold_bn, network=network, images=images
    )  # fmt: skip
    return rank_collected(convs, collected, config, ModelFacts(layout.name, layout.digest(), weights, source, of))


def rank_collected(
    convs: Sequence[RankedConv], collected: Collected, config: RankConfig, facts: ModelFacts
) -> RankResult:
    """Ranks of collected weights or outputs, ascending.

    Raises:
        EffscopeError: no convolution, values that are not finite, or an invalid threshold.
    """
    if not convs:
        raise EffscopeError(f"{facts.model} has no convolution and no linear layer to rank")
    with one_thread():
        return _ranked(convs, collected, config, facts)


def _ranked(convs: Sequence[RankedConv], collected: Collected, config: RankConfig, facts: ModelFacts) -> RankResult:
    threshold, of_weights = read_threshold(config.threshold), collected.moments is None
    if not of_weights:
        check_for_outputs(threshold)
    reasons = reasons_without_rank(convs, collected.kernels, threshold, of_weights=of_weights)
    beside = other_thresholds(threshold)
    values = _values([conv for conv in convs if not reasons[conv.number]], collected, config, [threshold, *beside])
    references = {m.shape: Reference(m.shape) for m in values.found} if of_weights else {}
    rows = [row(m, threshold, collected.spatial_kernels, references.get(m.shape)) for m in values.found]
    rows += [
        row_without_rank(conv, collected.kernels[conv.node.name], reasons[conv.number])
        for conv in convs
        if reasons[conv.number]
    ]
    result = RankResult(
        facts.model,
        facts.source,
        RankDefinition(
            config.at, threshold.spelling, config.fold_bn, config.centred, weights=facts.weights, of=facts.of
        ),
        sorted_rows(rows),
        (),
        origin(config, facts.digest),
        notes=eps_note(values.found) if threshold.kind == "eps" else (),
        spectra=tuple(spectrum_row(m, references.get(m.shape)) for m in values.found),
    )
    variants = {f"threshold {t.level:g}": {m.conv.number: m.ratio(t) for m in values.found} for t in beside}
    variants[values.other] = {m.conv.number: m.ratio(threshold) for m in values.others}
    return with_stability(result, variants)


def _values(
    convs: Sequence[RankedConv], collected: Collected, config: RankConfig, thresholds: Sequence[Threshold]
) -> _Values:
    """Singular values, and those with the opposite folding (weights) or centring (outputs). The first threshold is
    that of the result."""
    if collected.moments is None:
        found = measured_weights(convs, collected.kernels, thresholds)
        others = measured_weights(convs, collected.other_kernels, thresholds[:1])
        return _Values(found, others, "raw weights" if config.fold_bn else "BN folded")
    found = measured_outputs(convs, collected, centred=config.centred)
    others = measured_outputs(convs, collected, centred=not config.centred)
    return _Values(found, others, "not centred" if config.centred else "centred")
