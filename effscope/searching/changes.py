"""Changes of a search: one move at one stage, variants with several changes, and their costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from effscope.costing.model import cost
from effscope.errors import EffscopeError, unknown
from effscope.layouts.expand import stages
from effscope.layouts.moves import MOVES, swap_stage
from effscope.results import Change
from effscope.spec.layout import Layout

Changes = tuple[Change, ...]
"""A variant of the base: its changes, sorted by stage. The empty tuple is the base itself."""


def canonical(changes: Iterable[Change]) -> Changes:
    """The changes sorted by stage, so that a variant has only one form.

    Raises:
        EffscopeError: two changes of one stage.
    """
    found = tuple(sorted(changes, key=lambda change: change.stage))
    if len({change.stage for change in found}) < len(found):
        raise EffscopeError(f"a stage can change only once: {spelled(found)}")
    return found


def spelled(changes: Iterable[Change]) -> str:
    """A variant in words, e.g. "4 cib, 8 cib"; "base" without changes."""
    return ", ".join(f"{change.stage} {change.move}" for change in changes) or "base"


def layout_of(base: Layout, changes: Iterable[Change]) -> Layout:
    """The base with these changes. Raises EffscopeError for a stage that the move cannot change."""
    layout = base
    for change in canonical(changes):
        layout = swap_stage(layout, change.stage, change.move)
    return layout


def changeable(base: Layout, move: str) -> tuple[int, ...]:
    """Numbers of the stages that a move can change.

    Raises:
        EffscopeError: a search cannot use this move, or the move can change no stage.
    """
    applies = MOVES[move].changes_stage if move in MOVES else None
    if applies is None:
        raise unknown("`move`", move, [name for name, known in MOVES.items() if known.changes_stage is not None])
    found = tuple(stage.number for stage in stages(base) if applies(base.layer(stage.id)))
    if not found:
        blocks = ", ".join(dict.fromkeys(stage.block for stage in stages(base))) or "none"
        raise EffscopeError(f"{base.name} has no stage that move {move} can change: its stages are {blocks}")
    return found


@dataclass(frozen=True)
class Count:
    """Parameters of the one-head model and FLOPs of one image."""

    params: int
    flops: int


@dataclass(frozen=True)
class Costs:
    """Exact costs of every variant, computed from the cost of the base and of each single change.

    A change keeps the output shape of its stage, so its savings do not depend on other changes.

    Attributes:
        given: cost of the given model, with its own head.
        base: cost of the base.
        saved: change -> cost of the base minus cost with this change.
    """

    given: Count
    base: Count
    saved: Mapping[Change, Count]

    def of(self, changes: Iterable[Change]) -> Count:
        """Cost of a variant."""
        saved = [self.saved[change] for change in changes]
        return Count(self.base.params - sum(s.params for s in saved), self.base.flops - sum(s.flops for s in saved))


def count_all(given: Layout, base: Layout, changes: Iterable[Change], imgsz: int) -> Costs:
    """Count the given model, the base and every single change for images of `imgsz` px."""
    whole = _count(base, imgsz)
    each = {change: _count(layout_of(base, (change,)), imgsz) for change in changes}
    return Costs(
        _count(given, imgsz),
        whole,
        {c: Count(whole.params - one.params, whole.flops - one.flops) for c, one in each.items()},
    )


def _count(layout: Layout, imgsz: int) -> Count:
    found = cost(layout, imgsz)
    return Count(found.params_one_head, found.flops)
