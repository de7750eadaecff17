"""Ranks of an opened model: of its stages, or of every convolution if it has none. Also measures attention heads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from effscope.config import RankConfig
from effscope.errors import EffscopeError, first_line
from effscope.models.opened import LayoutModel, Model, TensorFile, TracedModel
from effscope.ranking.analyze import ModelFacts, rank_collected
from effscope.ranking.assumed_eps import with_assumed_eps
from effscope.ranking.collect import collect, run_with_hooks
from effscope.ranking.convs import RankedConv, every_conv, layout_convs, spatial_convs
from effscope.ranking.heads import HeadStatistics, attention_nodes
from effscope.ranking.kernels import unfolded
from effscope.ranking.own_weights import with_own_weights
from effscope.results import RankResult
from effscope.spec.graph import Graph
from effscope.spec.resolution import resolutions
from effscope.thresholds import read_threshold
from effscope.tracing.rebuild import rebuild, rebuilt_paths

RAW = "raw: its batch norm also follows another layer, or its output is used elsewhere too"
NO_FLOAT = "{} weight: only weights of real floats are ranked"
NOT_NORMALISED = "images are RGB 0-1, not normalised by the mean and standard deviation that a classifier may expect"


def rank_model(
    model: Model,
    config: RankConfig,
    *,
    weights: str = "checkpoint",
    of: str = "weights",
    images: Iterable[Tensor] | None = None,
) -> RankResult:
    """Numerical ranks of a model, in ascending order; arguments as in `analyze.rank`.

    Images are iterated a second time for the attention heads of a traced model.

    Raises:
        EffscopeError: as in `analyze.rank`; with images, also a model that cannot run on them.
    """
    network = None if model.state is not None and images is None else _runnable(model)
    state: Mapping[str, Tensor] = model.state if network is None else network.state_dict()  # type: ignore[assignment]
    graph = model.graph
    if isinstance(model, TracedModel):
        graph, state = with_own_weights(model.imported, state, model.shape)
    convs, at = ranked_convs(model, graph, config.at)
    convs = tuple(replace(conv, no_rank=conv.no_rank or _no_float(conv, state)) for conv in convs)
    raw = unfolded(graph) if isinstance(model, TracedModel) else frozenset()
    convs = tuple(replace(conv, note=RAW) if conv.node.name in raw else conv for conv in convs)
    if not config.fold_bn:  # then every rank is raw, and the notes on norms say nothing
        convs = tuple(replace(conv, note="") for conv in convs)
    config = replace(config, at=at)
    facts = ModelFacts(model.name, model.outline.digest, weights, model.source, of)
    attention = attention_nodes(model.graph) if images is not None else {}
    heads = {name: HeadStatistics(name, op) for name, op in attention.items()}
    with _one_line_errors(model) if images is not None else nullcontext():
        collected = collect(
            graph, state, convs, fold_bn=config.fold_bn, network=network, images=images,
            more_hooks={} if isinstance(model, TracedModel) else heads,
        )  # fmt: skip
    result = rank_collected(convs, collected, config, facts)
    if isinstance(model, TensorFile) and config.fold_bn:
        result = with_assumed_eps(result, graph, state, convs, read_threshold(config.threshold))
    notes: tuple[str, ...] = model.rank_notes if isinstance(model, TensorFile) else ()
    if isinstance(model, TracedModel) and images is not None:
        notes = _measure_traced_heads(model, state, heads, images)
    rows = tuple(head for layer in heads.values() for head in layer.rows_of_heads())
    return replace(result, attention=rows, notes=(*result.notes, *notes))


def _no_float(conv: RankedConv, state: Mapping[str, Tensor]) -> str:
    """Why a weight that is no float has no rank; "" for floats."""
    weight = state.get(dict(conv.node.params).get("weight", ""))
    return "" if weight is None or weight.is_floating_point() else NO_FLOAT.format(str(weight.dtype).partition(".")[2])


def _runnable(model: Model) -> nn.Module:
    return model.module if isinstance(model, TracedModel) else model.network()


def _measure_traced_heads(
    model: TracedModel, state: Mapping[str, Tensor], heads: Mapping[str, HeadStatistics], images: Iterable[Tensor]
) -> tuple[str, ...]:
    """Run a traced model for the statistics of its heads; returns notes. If this fails, the ranks are still valid.

    A traced model may have no module for its attention. Therefore the trace is run, one image at a time.
    """
    if not heads:
        return (NOT_NORMALISED,)
    paths = rebuilt_paths(model.graph)
    try:
        network = rebuild(model.imported, state)
        single_images = (image for batch in images for image in torch.split(batch, 1))
        run_with_hooks(network, {paths[name]: hook for name, hook in heads.items()}, single_images)
    except Exception as e:  # operations of the trace raise all kinds of errors
        return (NOT_NORMALISED, f"attention heads could not be measured: {first_line(e)}")
    return (NOT_NORMALISED,)


@contextmanager
def _one_line_errors(model: Model) -> Iterator[None]:
    """Raises EffscopeError with the first line of any error of the forward pass."""
    try:
        yield
    except EffscopeError:
        raise
    except Exception as e:
        raise EffscopeError(f"{model.name} cannot be run on these images: {first_line(e)}") from e


def ranked_convs(model: Model, graph: Graph, at: str) -> tuple[tuple[RankedConv, ...], str]:
    """The convolutions to rank, and the `at` that applies: "stage", "block" or "all".

    A stage of a traced model ends where the size of its feature maps changes. In weights of an unknown architecture
    every convolution and linear layer is ranked.

    Args:
        model: the model.
        graph: its graph; of a traced model with the weights that it computes (`own_weights`).
        at: "stage", "block" or "all".

    Raises:
        EffscopeError: the model has no such convolutions.
    """
    if isinstance(model, LayoutModel):
        return layout_convs(graph, model.layout, at), at
    if at == "stage" and isinstance(model, TracedModel):
        stages = resolutions(graph, model.shape)
        if stages:
            parts = {part: [n for n in graph.nodes if n.layer == part] for stage in stages for part in stage.layers}
            return tuple(
                RankedConv(s.number, s.closing, spatial_convs([n for part in s.layers for n in parts[part]]))
                for s in stages
            ), at
    if at == "block":
        raise EffscopeError(f"{model.name}: `at` block needs a layout of known blocks: give stage or all")
    return every_conv(graph), "all"
