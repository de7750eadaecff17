"""What other tools count for a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from effscope.results.base import Origin, Result
from effscope.results.counting import UncountedRow


@dataclass(frozen=True)
class CounterRow:
    """What one tool says.

    Attributes:
        unit: "MACs", or "FLOPs" where a multiply-add is two.
        count: its number, by our rules for it.
        ours: our multiply-adds in its unit.
        about: what its number is.
        measured: what the tool itself says, where it was run; its version, or why it was not run, in `version`.
    """

    counter: str
    unit: str
    count: int
    ours: int
    about: str = ""
    measured: int | None = None
    version: str = ""

    @property
    def explained(self) -> bool:
        """Whether the tool says what our rules for it say; also where it was not run."""
        return self.measured in {None, self.count}


@dataclass(frozen=True)
class CounterTerm:
    """A term of the difference: `calls` of an operation that a tool counts otherwise, and why."""

    counter: str
    operation: str
    why: str
    calls: int
    difference: int


@dataclass(frozen=True)
class CountersResult(Result):
    """A model's number in other tools; the terms of a tool add up to its count less ours. `macs` are ours, without what
    `uncounted_ops` names, which no rule of ours for a tool counts either."""

    model: str
    imgsz: int
    macs: int
    rows: tuple[CounterRow, ...]
    terms: tuple[CounterTerm, ...]
    origin: Origin
    notes: tuple[str, ...] = ()
    uncounted_ops: tuple[UncountedRow, ...] = ()

    TABLE: ClassVar[str] = "rows"
    ROWS: ClassVar[dict[str, type]] = {"rows": CounterRow, "terms": CounterTerm, "uncounted_ops": UncountedRow}
