"""What other tools count for a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from effscope.config import CountersConfig
from effscope.config.image_size import ImageSize, size_words
from effscope.results.base import Origin, Result
from effscope.results.counting import UncountedRow
from effscope.results.showing import listed, with_prefix


@dataclass(frozen=True)
class CounterRow:
    """The count of one tool.

    Attributes:
        unit: "MACs", or "FLOPs" with two per multiply-add.
        count: the count of the tool as effscope's rules reproduce it.
        ours: effscope's multiply-adds in the unit of the tool.
        about: what the tool includes.
        measured: the count that the tool itself returned; None if it was not run.
        version: version of the tool, or why it was not run.
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
        """Whether the tool returned exactly `count`; also true if it was not run."""
        return self.measured in {None, self.count}


@dataclass(frozen=True)
class CounterTerm:
    """One term of the difference to effscope's count: an operation that the tool counts differently, and why."""

    counter: str
    operation: str
    why: str
    calls: int
    difference: int


@dataclass(frozen=True, repr=False)
class CountersResult(Result):
    """The numbers of other tools for a model.

    Attributes:
        macs: effscope's multiply-adds.
        terms: the terms of one tool sum to its count minus effscope's.
        uncounted_ops: operations that neither effscope's count nor its rules for a tool include.
    """

    model: str
    imgsz: ImageSize
    macs: int
    rows: tuple[CounterRow, ...]
    terms: tuple[CounterTerm, ...]
    origin: Origin[CountersConfig]
    notes: tuple[str, ...] = ()
    uncounted_ops: tuple[UncountedRow, ...] = ()

    KIND: ClassVar[str] = "counters"
    TABLE: ClassVar[str] = "rows"
    SHOWN: ClassVar = ("counter", "unit", "count", "ours", "measured", "version", "about")

    def lines(self) -> tuple[str, ...]:
        """effscope's count, and that of every tool."""
        counts = [f"{row.counter} {with_prefix(row.count)} {row.unit}" for row in self.rows]
        return f"{self.model} at {size_words(self.imgsz)}: {self.macs:,} MACs", listed(counts)
