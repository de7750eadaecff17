"""How the nodes of a graph are grouped into table rows: layers, stages, the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outline:
    """Names of the layers of a graph, for tables. A layer is the set of nodes with the same `layer`.

    Attributes:
        model: name of the model.
        rows: layer -> (row name, block or class), in forward order.
        stages: layer -> number of its stage, from 1.
        heads: layers that are detection heads.
        digest: hash of the layout.
        unreached: state-dict key -> number of parameters, for tensors that the trace did not use.
        notes: notes for the reader, one line each.
    """

    model: str
    rows: Mapping[str, tuple[str, str]]
    stages: Mapping[str, int] = field(default_factory=dict)
    heads: frozenset[str] = frozenset()
    digest: str = ""
    unreached: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
