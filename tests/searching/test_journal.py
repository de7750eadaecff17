"""The journal: what was appended comes back, a torn last line is forgiven, anything else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from effscope.errors import EffscopeError
from effscope.results import Latency
from effscope.searching.jobs import Measurement
from effscope.searching.journal import Journal

ONE = Measurement("base-1", "base", ap=0.1, notes=("zellzählung\n\u2028",), seconds=1e-17)
TWO = Measurement("rank-2", "rank", order=(8, 4, 7))
THREE = Measurement("time-3", "time", latency={"run-1": Latency(1.5, 0.1), "run-2": Latency(2.0, 0.1, 1.0, 0.2)})


def test_journal_gives_back_what_was_appended(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep" / "journal.jsonl")
    assert journal.read() == []
    for measurement in (ONE, TWO, THREE):
        journal.append(measurement)
    assert journal.read() == Journal(journal.path).read() == [ONE, TWO, THREE]


@pytest.mark.parametrize("cut", [1, 2, 20, 60, 120])
def test_torn_last_line_is_forgiven_wherever_it_tears(tmp_path: Path, cut: int) -> None:
    """What `read` reported is there after the next append, also when only the line break is missing."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(ONE)
    journal.append(TWO)
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[: max(len(whole) - cut, whole.index(b"\n") + 1)])
    seen = journal.read()
    assert seen == [ONE]
    journal.append(THREE)
    assert journal.read() == [ONE, THREE]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"event": "measu', "line 2 is damaged"),
        ("[1]", "line 2 is damaged"),
        ("[" * 100_000, "line 2 is damaged"),
        ('{"job": "a"}', "line 2 is damaged"),
        ('{"event": "retired", "job": "a"}', "line 2: unknown event 'retired'"),
        ('{"event": "measured", "job": "a"}', "line 2"),
        ('{"event": "measured", "job": "a", "kind": "base", "ap": "high"}', "line 2"),
    ],
)
def test_other_lines_are_refused_with_their_number(tmp_path: Path, line: str, said: str) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(ONE)
    with journal.path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(EffscopeError, match=said) as caught:
        journal.read()
    assert "delete the folder" in str(caught.value)
