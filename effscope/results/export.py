"""The files that a model was exported to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from effscope.config import ExportConfig
from effscope.results.base import Origin, Result


@dataclass(frozen=True)
class ExportResult(Result):
    """The files of an exported model, format -> path, for images of `imgsz` px."""

    model: str
    imgsz: int
    files: dict[str, str]
    notes: tuple[str, ...]
    origin: Origin[ExportConfig]

    KIND: ClassVar[str] = "export"

    def to_rows(self) -> list[dict[str, Any]]:
        """One row per file."""
        return [{"format": name, "file": file} for name, file in self.files.items()]
