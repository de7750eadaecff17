"""Ranks of an opened MODEL: of its stages where it has some, else of every convolution; and its attention heads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from effscope.config import RankConfig
from effscope.errors import EffscopeError
from effscope.models.open import USUAL_SIZE, Model
from effscope.ranking.analyze import Facts, rank_taken, show, take
from effscope.ranking.heads import Heads, attention_nodes
from effscope.ranking.kernels import Place, every_conv, layout_places, spatial
from effscope.results import RankResult
from effscope.spec.graph import image_shape
from effscope.spec.resolution import resolutions
from effscope.tracing.importer import Imported
from effscope.tracing.rebuild import part_paths, rebuild


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
        EffscopeError: as `analyze.rank`; activations of a model that cannot be run, or not on these images.
    """
    places, at = places_of(model, config.at)
    config = replace(config, at=at)
    facts = Facts(model.name, model.outline.digest, weights, model.source, of)
    network = None if model.state is not None and images is None else _runnable(model)
    state: Mapping[str, Tensor] = model.state if network is None else network.state_dict()  # type: ignore[assignment]
    if not places and any(node.op == "conv2d_given" for node in model.graph.nodes):
        raise EffscopeError(f"{model.name}: its convolutions take computed weights (weight norm?): remove that first")
    attending = attention_nodes(model.graph) if images is not None else {}
    heads = {name: Heads(name, op) for name, op in attending.items()}
    foreign = model.module is not None
    with _told(model) if images is not None else nullcontext():
        taken = take(
            model.graph, state, places, fold_bn=config.fold_bn, network=network, images=images,
            beside={} if foreign else heads,
        )  # fmt: skip
    result = rank_taken(places, taken, config, facts)
    notes = _shown_traced(model, state, heads, images) if foreign and images is not None else ()
    attention = tuple(use for part in heads.values() for use in part.uses())
    return replace(result, attention=attention, notes=(*result.notes, *notes))


def _runnable(model: Model) -> nn.Module:
    return model.module if model.module is not None else model.network()


def _shown_traced(
    model: Model, state: Mapping[str, Tensor], heads: Mapping[str, Heads], images: Iterable[Tensor]
) -> tuple[str, ...]:
    """Shows images to the attention of a traced model: it stands nowhere in its modules, so the trace itself is run,
    one image at a time. Returns notes; the ranks do not wait for heads that cannot be measured."""
    notes = ("images are shown as RGB 0-1, without the mean and spread a classifier may expect",)
    if not heads:
        return notes
    assert model.traced is not None
    graph, outline = model.traced
    paths = part_paths(graph)
    try:
        network = rebuild(Imported(graph, outline, model.constants), state)
        singly = (one for batch in images for one in torch.split(batch, 1))
        show(network, {paths[name]: part for name, part in heads.items()}, singly)
    except Exception as e:  # operations of the trace raise whatever they like
        return (*notes, f"attention heads could not be measured: {_first_line(e)}")
    return notes


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextmanager
def _told(model: Model) -> Iterator[None]:
    """What a forward pass raises, in one line: foreign modules raise whatever they like."""
    try:
        yield
    except EffscopeError:
        raise
    except Exception as e:
        raise EffscopeError(f"{model.name} cannot be run on these images: {_first_line(e)}") from e


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
        found = resolutions(graph, image_shape(side))
        if found:
            parts = {part: [n for n in graph.nodes if n.layer == part] for r in found for part in r.layers}
            return tuple(
                Place(r.number, r.closing, spatial([n for part in r.layers for n in parts[part]])) for r in found
            ), at
    if at == "block":
        raise EffscopeError(f"{model.name}: 'block' needs a layout of known blocks: rank it at stage, or all")
    return every_conv(graph), "all"
