"""Other counters that ran on a module, beside our rules for them."""

from __future__ import annotations

from effscope.other_counters.tools import TOOLS
from effscope.results import CountersResult


def differences(result: CountersResult) -> dict[str, tuple[int | None, int]]:
    """Tool -> (its number, our number), where they differ. A tool that did not run differs too."""
    ran = {row.counter: (row.measured, row.count) for row in result.rows if row.counter in TOOLS}
    assert list(ran) == list(TOOLS)
    return {name: pair for name, pair in ran.items() if pair[0] != pair[1]}
