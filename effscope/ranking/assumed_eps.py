"""Ranks that depend on the epsilon of a batch norm, where a file does not tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from effscope.ranking.convs import RankedConv
from effscope.ranking.kernels import kernels
from effscope.ranking.measured import measured_weights
from effscope.results import RankResult
from effscope.spec.graph import Graph, Node
from effscope.thresholds import Threshold

OTHER_EPS = 1e-3
"""The other common epsilon: that of Ultralytics, and of models that come from TensorFlow."""

NOTE = "depends on the epsilon of its batch norm: the file does not tell it, {:g} is assumed, {:g} gives rank {}"


def with_assumed_eps(
    result: RankResult, graph: Graph, state: Mapping[str, Tensor], convs: Sequence[RankedConv], threshold: Threshold
) -> RankResult:
    """The result with a note in each row that another epsilon would change.

    Args:
        result: ranks with the batch norms folded in.
        graph: its batch norms have the argument `assumed` if their epsilon is not known.
        state: weights of the graph.
        convs: the ranked convolutions.
        threshold: which singular values count.
    """
    assumed = {node.inputs[0]: node for node in graph.nodes if node.args.get("assumed") and node.inputs}
    affected = [conv for conv in convs if conv.node.name in assumed and not conv.no_rank]
    if not affected:
        return result
    other = replace(graph, nodes=tuple(_with_other(node) for node in graph.nodes))
    found = measured_weights(affected, kernels(other, state, [conv.node for conv in affected]), [threshold])
    ranks = {m.conv.number: (m.cut(threshold).rank, assumed[m.conv.node.name].args["eps"]) for m in found}
    rows = []
    for row in result.stages:
        rank, eps = ranks.get(row.stage, (row.rank, 0.0))
        changed = row.rank is not None and rank != row.rank
        note = "; ".join(filter(None, (row.note, NOTE.format(eps, OTHER_EPS, rank)))) if changed else row.note
        rows.append(replace(row, note=note))
    return replace(result, stages=tuple(rows))


def _with_other(node: Node) -> Node:
    return replace(node, args={**node.args, "eps": OTHER_EPS}) if node.args.get("assumed") else node
