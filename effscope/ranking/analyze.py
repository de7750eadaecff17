"""Ranks of a network's convolutions: of their weights, or of what forward hooks see them give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from torch import Tensor, nn

from effscope.config import RankConfig
from effscope.errors import EffscopeError
from effscope.nn.build import Network
from effscope.nn.preserved import Hook, preserved
from effscope.ranking.kernels import Place, kernels, layout_places
from effscope.ranking.measures import MEASURES, is_spiked, rank_without_top
from effscope.ranking.moments import Moments
from effscope.ranking.null import Reference
from effscope.ranking.order import ordered, ties
from effscope.ranking.spectrum import Array, Kernel, MapShape, one_thread, root_values, separability
from effscope.ranking.stability import settled, thresholds_beside
from effscope.ranking.thresholds import Cut, Threshold, read_threshold, refuse_for_outputs, settled_spectra, too_coarse
from effscope.results import RankDefinition, RankResult, Spectrum, StageRank, origin
from effscope.spec.graph import Graph, Node
from effscope.spec.layout import Layout

DEPTHWISE = "depthwise: each filter sees one channel, the weight has no rank in this sense"
COARSE = "too coarse: rounding at eps {:.2g} can make values as large as the largest"
COVARIANCE_EPS = float(np.finfo(np.float32).eps)
"""A covariance in float64 tells no more of its roots than this."""
LONE = "one {} per group: its rank is 1 whatever the weights are"


@dataclass(frozen=True)
class Facts:
    """What a result says of its model: name, hash, whether the weights are a "checkpoint" or "random", source line,
    and what of it was ranked."""

    model: str
    digest: str
    weights: str
    source: str = ""
    of: str = "weights"


@dataclass(frozen=True)
class Taken:
    """What was taken at some convolutions, by node name.

    Attributes:
        kernels: their weights, the batch norm behind them folded in if asked for.
        others: the same weights with folding the other way.
        wide: kernels larger than 1x1 that stand behind the places.
        moments: of the outputs, where images were shown.
    """

    kernels: Mapping[str, Kernel]
    others: Mapping[str, Kernel]
    wide: Mapping[str, Kernel]
    moments: Mapping[str, Moments] | None = None


def take(
    graph: Graph,
    state: Mapping[str, Tensor],
    places: Sequence[Place],
    *,
    fold_bn: bool = True,
    network: nn.Module | None = None,
    images: Iterable[Tensor] | None = None,
    beside: Mapping[str, Hook] | None = None,
) -> Taken:
    """Weights, and with images the moments of the outputs, of some convolutions.

    The network is as it was afterwards (state, mode, hooks, random state), also when its forward pass raises.

    Args:
        graph: the places are convolutions of it.
        state: its weights.
        places: where to take.
        fold_bn: take the weight with the batch norm behind it folded in.
        network: what runs the graph: a built network, or the module it was imported from.
        images: batches (B, 3, H, W), float 0-1; hooks add up the output of each convolution over them.
        beside: further forward hooks, by the path of their module.

    Raises:
        EffscopeError: weights that do not fit the graph, a convolution that is no module.
    """
    convs = [place.conv for place in places]
    wide = {node.name: node for place in places for node in place.spatial}
    moments = None
    if images is not None:
        assert network is not None
        moments = {node.name: Moments(node.name) for node in convs}
        show(network, {**{node.module: moments[node.name] for node in convs}, **(beside or {})}, images)
    return Taken(
        kernels(graph, state, convs, fold_bn=fold_bn),
        kernels(graph, state, convs, fold_bn=not fold_bn),
        kernels(graph, state, list(wide.values()), fold_bn=fold_bn),
        moments,
    )


def show(network: nn.Module, hooks: Mapping[str, Hook], images: Iterable[Tensor]) -> None:
    """Run a network on batches of images with forward hooks at some of its parts; it is as it was afterwards."""
    with preserved(network, hooks):
        for batch in _like(network, images):
            network(batch)


def _like(network: nn.Module, images: Iterable[Tensor]) -> Iterator[Tensor]:
    """Batches on the network's device and in its dtype."""
    first = next((p for p in network.parameters() if p.is_floating_point()), None)
    return (batch if first is None else batch.to(first.device, first.dtype) for batch in images)


def _no_rank(node: Node, shape: MapShape) -> str:
    """Why the rank of a convolution's weight means nothing, "" if it means something."""
    if node.args["groups"] > 1 and node.args["c_in"] == node.args["groups"]:
        return DEPTHWISE
    if not shape.values:
        return "no weights at all"
    if shape.rows == 1:
        return (
            LONE.format("filter") if shape.groups > 1 else "one output channel: its rank is 1 whatever the weights are"
        )
    return LONE.format("weight") if shape.columns == 1 else ""


def _no_rank_of_outputs(node: Node, shape: MapShape) -> str:
    """The same for its outputs: whatever makes them, several channels span something."""
    return "" if node.args["c_out"] > 1 else "one output channel: its rank is 1 whatever it gives"


@dataclass(frozen=True)
class Measured:
    """The singular values found at a place: of its kernel, or of its outputs at so many positions, whose shape is then
    (C_out, C_out)."""

    place: Place
    kernel: Kernel
    shape: MapShape
    values: Array
    eps: float
    positions: int | None = None

    def cut(self, threshold: Threshold) -> Cut:
        """What a threshold makes of the values."""
        return threshold.cut(self.values, self.shape, self.eps)

    def ratio(self, threshold: Threshold) -> float:
        """Rank over output channels."""
        return self.cut(threshold).rank / len(self.kernel.weight)


def _of_weights(places: Sequence[Place], found: Mapping[str, Kernel], cuts: Sequence[Threshold]) -> list[Measured]:
    chosen = [found[place.conv.name] for place in places]
    values = settled_spectra(chosen, cuts)
    return [Measured(p, k, k.shape, v, k.eps) for p, k, v in zip(places, chosen, values, strict=True)]


def _of_outputs(places: Sequence[Place], taken: Taken, *, centred: bool) -> list[Measured]:
    found = []
    for place in places:
        kernel, c_out = taken.kernels[place.conv.name], len(taken.kernels[place.conv.name].weight)
        assert taken.moments is not None
        moments = taken.moments[kernel.name]
        values = root_values(moments.second(centred=centred), kernel.name)
        eps = max(kernel.eps, COVARIANCE_EPS)
        found.append(Measured(place, kernel, MapShape(c_out, c_out), values, eps, moments.n))
    return found


def _row(found: Measured, threshold: Threshold, wide: Mapping[str, Kernel], reference: Reference | None) -> StageRank:
    kernel, shape, c_out = found.kernel, found.shape, len(found.kernel.weight)
    cut = found.cut(threshold)
    without_top = rank_without_top(found.values, shape, threshold, found.eps)
    null, null_sd = reference.rank(threshold, found.eps) if reference else (None, None)
    one, two = _separability(found.place, wide)
    return StageRank(
        stage=found.place.number,
        layer=kernel.name,
        shape=(kernel.shape.rows, kernel.shape.columns),
        c_out=c_out,
        rank=cut.rank,
        ratio=cut.rank / c_out,
        null_ratio=null,
        null_sd=null_sd,
        **{name: measure(found.values) for name, measure in MEASURES.items()},  # type: ignore[arg-type]
        threshold_tie=cut.tie,
        rank_without_top=without_top,
        spike=is_spiked(cut.rank, without_top, c_out),
        separability_1=one,
        separability_2=two,
        note=_note(found),
    )


def _note(found: Measured) -> str:
    """How a count is meant."""
    c_out = len(found.kernel.weight)
    if found.positions is not None and found.positions < c_out:
        return f"only {found.positions} positions for {c_out} channels: show more or larger images"
    return f"{found.shape.groups} groups: the singular values of all of them" if found.shape.groups > 1 else ""


def _separability(place: Place, wide: Mapping[str, Kernel]) -> tuple[float | None, float | None]:
    """By one and two terms, mean over the convolutions a place stands for."""
    known = [shares for node in place.spatial if (shares := separability(wide[node.name])) is not None]
    return (fmean(one for one, _ in known), fmean(two for _, two in known)) if known else (None, None)


def _with_ties(rows: Sequence[StageRank]) -> tuple[StageRank, ...]:
    """Ascending by ratio, equal ratios by stage number, stages without a rank last; each row names its ties."""
    ratios = {row.stage: row.ratio for row in rows if row.ratio is not None}
    tied = {stage: tuple(k for k in group if k != stage) for group in ties(ratios) for stage in group}
    place = {stage: n for n, stage in enumerate(ordered(ratios))}
    known = [replace(row, tie=tied.get(row.stage, ())) for row in rows]
    return tuple(sorted(known, key=lambda row: (place.get(row.stage, len(place)), row.stage)))


def rank_taken(places: Sequence[Place], taken: Taken, config: RankConfig, facts: Facts) -> RankResult:
    """Ranks of what was taken at some convolutions, ascending.

    Raises:
        EffscopeError: no convolution, values that are not finite, a threshold that cannot be.
    """
    if not places:
        raise EffscopeError(f"{facts.model} has no convolution to rank")
    with one_thread():
        return _ranked(places, taken, config, facts)


def _ranked(places: Sequence[Place], taken: Taken, config: RankConfig, facts: Facts) -> RankResult:
    threshold, of_weights = read_threshold(config.threshold), taken.moments is None
    no_rank = _no_rank if of_weights else _no_rank_of_outputs
    why = {place.number: place.why or no_rank(place.conv, taken.kernels[place.conv.name].shape) for place in places}
    if of_weights:
        why |= _too_coarse(places, taken.kernels, threshold)
    known = [place for place in places if not why[place.number]]
    beside = thresholds_beside(threshold)
    if of_weights:
        found = _of_weights(known, taken.kernels, [threshold, *beside])
        others = _of_weights(known, taken.others, [threshold])
        other = "raw weights" if config.fold_bn else "BN folded"
    else:
        refuse_for_outputs(threshold)
        found = _of_outputs(known, taken, centred=config.centred)
        others = _of_outputs(known, taken, centred=not config.centred)
        other = "not centred" if config.centred else "centred"
    references = {m.shape: Reference(m.shape) for m in found} if of_weights else {}
    rows = [_row(m, threshold, taken.wide, references.get(m.shape)) for m in found]
    rows += [_without_rank(p, taken.kernels[p.conv.name], why[p.number]) for p in places if why[p.number]]
    result = RankResult(
        facts.model,
        facts.source,
        RankDefinition(
            config.at, threshold.spelling, config.fold_bn, config.centred, weights=facts.weights, of=facts.of
        ),
        _with_ties(rows),
        (),
        origin(config, facts.digest),
        notes=_stored(found) if threshold.kind == "eps" else (),
        spectra=tuple(_spectrum(m, references.get(m.shape)) for m in found),
    )
    variants = {f"threshold {t.level:g}": {m.place.number: m.ratio(t) for m in found} for t in beside}
    return settled(result, variants | {other: {m.place.number: m.ratio(threshold) for m in others}})


def _stored(found: Sequence[Measured]) -> tuple[str, ...]:
    """What eps is: that of the dtype the weights are stored in."""
    known = sorted({m.kernel.eps for m in found})
    return (f"eps: {', '.join(f'{eps:.2g}' for eps in known)}, as stored",) if known else ()


def _without_rank(place: Place, kernel: Kernel, why: str) -> StageRank:
    return StageRank(place.number, kernel.name, (kernel.shape.rows, kernel.shape.columns), len(kernel.weight), note=why)


def _too_coarse(places: Sequence[Place], found: Mapping[str, Kernel], threshold: Threshold) -> dict[int, str]:
    """Place -> why rounding in the stored dtype tells nothing there."""
    return {
        place.number: COARSE.format(kernel.eps)
        for place in places
        for kernel in [found[place.conv.name]]
        if too_coarse(threshold, kernel.shape, kernel.eps)
    }


def _spectrum(found: Measured, reference: Reference | None) -> Spectrum:
    null = reference.expected() if reference else np.zeros(0)
    relative = null / null[0] if len(null) else null
    return Spectrum.rounded(found.place.number, found.kernel.name, found.values.tolist(), relative.tolist())


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
    """Numerical rank of every stage of a network, ascending.

    Args:
        network: built from the layout.
        layout: its stages are ranked.
        config: where (closing conv of the stage, last conv of its last block, or all), threshold, folding.
        weights: "checkpoint" or "random", said in the result.
        source: one line on where the weights came from.
        of: what is ranked, said in the result: "weights", or which images.
        images: with them the rank is that of the outputs (channel covariance) instead of the weights.

    Raises:
        EffscopeError: a model without stages, weights that are not finite, a threshold that cannot be.
    """
    places = layout_places(network.spec, layout, config.at)
    taken = take(
        network.spec, network.state_dict(), places, fold_bn=config.fold_bn, network=network, images=images
    )  # fmt: skip
    return rank_taken(places, taken, config, Facts(layout.name, layout.digest(), weights, source, of))
