"""Ranks of an opened MODEL: of its stages where it has some, else of every convolution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor

from effscope.config import RankConfig
from effscope.errors import EffscopeError
from effscope.expand import IMAGE_CHANNELS
from effscope.models import USUAL_SIZE, Model
from effscope.ranking.analyze import Facts, Place, Taken, every_conv, layout_places, rank_taken, take, weights_of
from effscope.results import RankResult
from effscope.spec.resolution import resolutions


def rank_model(
    model: Model,
    config: RankConfig,
    *,
    weights: str = "checkpoint",
    of: str = "weights",
    images: Iterable[Tensor] | None = None,
) -> RankResult:
    """Numerical ranks of a model, ascending; arguments as in `analyze.rank`.

    Raises:
        EffscopeError: as `analyze.rank`; activations of a model that cannot be run.
    """
    places, at = places_of(model, config.at)
    config = replace(config, at=at)
    convs = [place.conv for place in places]
    facts = Facts(model.name, model.outline.digest, weights, model.source, of)
    if images is not None or model.state is None:
        network = model.module if model.module is not None else model.network()
        taken = take(network, convs, graph=model.graph, fold_bn=config.fold_bn, images=images)
    else:
        found = weights_of(model.graph, model.state, convs, fold_bn=config.fold_bn)
        taken = {name: Taken(weight) for name, weight in found.items()}
    return rank_taken(places, taken, config, facts)


def places_of(model: Model, at: str) -> tuple[tuple[Place, ...], str]:
    """The convolutions that are ranked, and at which of "stage", "block" or "all" they stand.

    A traced model's stages are where its maps change their size; where the architecture is not known, every convolution
    is ranked.
    """
    if model.architecture is not None:
        return layout_places(model.graph, model.layout, at), at
    graph = model.graph
    if at == "stage" and graph.views:
        side = model.imgsz or USUAL_SIZE
        found = resolutions(graph, (1, IMAGE_CHANNELS, side, side))
        if found:
            return tuple(Place(r.number, r.closing) for r in found), at
    if at == "block":
        raise EffscopeError(f"{model.name}: 'block' needs a layout of known blocks: rank it at stage, or all")
    return every_conv(graph), "all"
