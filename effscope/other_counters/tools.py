"""The table of the other counters, one module for each."""

from __future__ import annotations

from effscope.errors import unknown
from effscope.other_counters import fvcore, paper, thop, torch, ultralytics
from effscope.other_counters.counter import Counter

COUNTERS: dict[str, Counter] = {
    "paper": paper.COUNTER,
    "fvcore": fvcore.COUNTER,
    "thop": thop.COUNTER,
    "ultralytics": ultralytics.COUNTER,
    "torch": torch.COUNTER,
}
"""Name in `effscope cost --as` -> counter."""


def counter(name: str, *, detector: bool) -> Counter:
    """The counter of that name for a detector, or for another model. Raises EffscopeError for an unknown name."""
    if name not in COUNTERS:
        raise unknown("`counter`", name, COUNTERS)
    found = COUNTERS[name]
    return found if detector or found.backbones is None else found.backbones
