"""How a changed layer starts: the closed form for its old and its new block. A new move adds one line of `FORMS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from effscope.transplant.compact import compact, compact_c3
from effscope.transplant.passes import Pair
from effscope.transplant.single import decoupled, ghost, separated, separated_csp
from effscope.transplant.smaller import elan, smaller
from effscope.transplant.units import NoClosedForm

Form = Callable[[Pair], float]
"""Sets the weights of `Pair.new` from `Pair.old` and its inputs; returns squared error / variance of old responses.
Raises NoClosedForm if the parts do not have the structure that it knows."""

FORMS: dict[tuple[str, str], Form] = {
    ("C2f", "C2fCIB"): compact,
    ("C3k2", "C2fCIB"): compact,
    ("C3", "C2fCIB"): compact_c3,
    ("C2f", "C2f"): smaller,
    ("C3k2", "C3k2"): smaller,
    ("C3", "C3"): smaller,
    ("C2fCIB", "C2fCIB"): smaller,
    ("A2C2f", "A2C2f"): smaller,
    ("ELAN1", "ELAN1"): elan,
    ("Conv", "SCDown"): decoupled,
    ("Conv", "GhostConv"): ghost,
    ("Detect", "Detect"): separated,
    ("YOLOXHead", "YOLOXHead"): separated,
    ("SpatialConv", "SpatialConv"): separated,
    ("CSPLayer", "CSPLayer"): separated_csp,
}
"""(old block, new block) -> closed form."""


@dataclass(frozen=True)
class Start:
    """How a changed layer started.

    Attributes:
        error: squared error / variance of the old responses at its last fitted convolution; None without a closed form.
        reason: why there is no closed form; empty with one.
    """

    error: float | None
    reason: str = ""

    @property
    def words(self) -> str:
        """For the transfer report."""
        if self.error is None:
            return f"by name and shape: {self.reason}"
        return f"in closed form, error {self.error:.3f}"


def start(pair: Pair, old_block: str, new_block: str) -> Start:
    """Give the new part its first weights in closed form, or leave those that it has by name and shape.

    Args:
        pair: the layers; the new one has inherited by name and shape.
        old_block, new_block: names of their blocks.
    """
    form = FORMS.get((old_block, new_block))
    if form is None:
        return Start(None, f"{old_block} to {new_block} has no closed form")
    before = {key: tensor.clone() for key, tensor in pair.new.state_dict().items()}
    try:
        return Start(form(pair))
    except NoClosedForm as reason:
        pair.new.load_state_dict(before)
        return Start(None, str(reason))
