"""What other tools count for a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from effscope.config import CountersConfig
from effscope.results.base import Origin, Result
from effscope.results.counting import UncountedRow


@dataclass(frozen=True)
class CounterRow:
    """The count of one tool.

    Attributes:
        unit: "MACs", or "FLOPs" with two per multiply-add.
        count: its number, by our rules for this tool.
        ours: our multiply-adds in its unit.
        about: what its number includes.
        measured: what the tool itself gives; None if it was not run.
        version: of the tool that was run, or why it was not run.
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
        """Whether the tool gives the number of our rules for it; also true if it was not run."""
        return self.measured in {None, self.count}


@dataclass(frozen=True)
class CounterTerm:
    """One term of the difference to our count: `calls` of an operation that the tool counts in another way, and why."""

    counter: str
    operation: str
    why: str
    calls: int
    difference: int


@dataclass(frozen=True)
class CountersResult(Result):
    """The numbers of other tools for a model.

    Attributes:
        macs: our multiply-adds.
        terms: those of a tool sum to its count minus ours.
        uncounted_ops: operations that neither our count nor our rules for a tool include.
    """

    model: str
    imgsz: int
    macs: int
    rows: tuple[CounterRow, ...]
    terms: tuple[CounterTerm, ...]
    origin: Origin[CountersConfig]
    notes: tuple[str, ...] = ()
    uncounted_ops: tuple[UncountedRow, ...] = ()

    KIND: ClassVar[str] = "counters"
    TABLE: ClassVar[str] = "rows"
