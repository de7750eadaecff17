"""How much memory activations need at once: every value lives from where it is made to where it is last read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from effscope.costing.laws import VIEWS_ONLY, elements
from effscope.costing.nodes import STORED, NodeCost
from effscope.spec.graph import INPUT


def peak_elements(rows: Sequence[NodeCost], outputs: Iterable[str]) -> tuple[int, str]:
    """The most values that live at once, and the node that runs then.

    Nodes run in order, nothing is written in place, the image and the outputs live to the end, and what only re-labels
    memory (`VIEWS_ONLY`) keeps alive what it re-labels. It is the least a runtime needs that reuses no buffer under a
    value still to be read; torch itself holds the arguments of a running layer a little longer.

    Args:
        rows: every node with its shape, in forward order, the input among them.
        outputs: nodes whose values are given back.
    """
    holder: dict[str, str] = {}
    last: dict[str, int] = {}
    for n, row in enumerate(rows):
        name, inputs = row.node.name, row.node.inputs
        holder[name] = holder[inputs[0]] if row.node.op in VIEWS_ONLY and inputs else name
        for read in (name, *inputs):
            last[holder[read]] = n
    last |= {holder[name]: len(rows) for name in (INPUT, *outputs) if name in holder}
    ends: dict[int, list[int]] = {}
    live, most, where = 0, 0, ""
    for n, row in enumerate(rows):
        name = row.node.name
        if holder[name] == name and row.node.op not in STORED:
            size = elements(row.shape)
            live += size
            ends.setdefault(last[name], []).append(size)
        if live > most:
            most, where = live, name
        live -= sum(ends.pop(n, ()))
    return most, where
