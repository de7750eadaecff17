"""An append-only log of events, one JSON object a line. The state of a search is the replay of its journal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from effscope.errors import EffscopeError

Event = dict[str, Any]


class Journal:
    """A JSON-lines file. Each append is on disk before it returns; one torn last line is forgiven and cut off."""

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> list[Event]:
        """All events, oldest first; none if the file does not exist.

        Raises:
            EffscopeError: a line before the last is not JSON.
        """
        if not self.path.exists():
            return []
        *whole, _torn = self.path.read_bytes().split(b"\n")
        events: list[Event] = []
        for n, line in enumerate(whole, 1):
            try:
                events.append(json.loads(line))
            except ValueError:
                raise EffscopeError(f"{self.path}, line {n} is damaged: delete the folder to start over") from None
        return events

    def append(self, event: Event) -> None:
        """Write one event and wait until it is on disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._cut_torn_line()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
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
