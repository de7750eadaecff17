"""How the nodes of a graph are gathered into the rows people read: layers, stages, the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outline:
    """What tables call the parts of a graph; a part is what its nodes name as their `layer`.

    Attributes:
        model: name of the whole.
        rows: part -> (name of its row, block or class it is made of), in forward order.
        stages: part -> number of the stage it belongs to, from 1.
        heads: parts that are detection heads.
        digest: hash of what decides the model.
        unreached: state-dict key -> parameters that no node owns: a trace never came to them.
        notes: what a reader of the numbers must know, one line each.
    """

    model: str
    rows: Mapping[str, tuple[str, str]]
    stages: Mapping[str, int] = field(default_factory=dict)
    heads: frozenset[str] = frozenset()
    digest: str = ""
    unreached: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
