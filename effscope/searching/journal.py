"""The journal of a run: an append-only file, one measurement (JSON object) per line. It can be replayed."""

from __future__ import annotations

import json
import os
from pathlib import Path

from effscope.errors import EffscopeError
from effscope.searching.jobs import Measurement

JOURNAL = "journal.jsonl"

MEASURED = "measured"
"""The only kind of event: the policy received a measurement."""


class Journal:
    """A JSON-lines file. `append` returns after the line is on disk; an incomplete last line is removed."""

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> list[Measurement]:
        """All measurements, oldest first; none if the file does not exist.

        Raises:
            EffscopeError: a line is not an event, or its kind is unknown. An incomplete last line is skipped.
        """
        if not self.path.exists():
            return []
        *whole, _torn = self.path.read_bytes().split(b"\n")
        return [self._event(n, line) for n, line in enumerate(whole, 1)]

    def _event(self, n: int, line: bytes) -> Measurement:
        try:
            event = json.loads(line)
            kind = event.pop("event")
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            raise EffscopeError(f"{self.path}, line {n} is damaged: delete the folder to start over") from None
        if kind != MEASURED:
            raise EffscopeError(f"{self.path}, line {n}: unknown event '{kind}': delete the folder to start over")
        try:
            return Measurement.from_dict(event)
        except EffscopeError as error:
            raise EffscopeError(f"{self.path}, line {n}: {error}: delete the folder to start over") from None

    def append(self, measurement: Measurement) -> None:
        """Write one measurement and wait until it is on disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._cut_torn_line()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": MEASURED, **measurement.to_dict()}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _cut_torn_line(self) -> None:
        if not self.path.exists():
            return
        whole = self.path.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            with self.path.open("r+b") as file:
                file.truncate(end)
