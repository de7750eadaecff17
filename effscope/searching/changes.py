"""Changes of a search: one move at one stage, variants with several changes, and their costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from effscope.config.search import COMPACT
from effscope.costing.model import cost
from effscope.errors import EffscopeError
from effscope.layouts.expand import stages
from effscope.layouts.moves import MOVES, places, swap_stage
from effscope.results import HEAD, Change, spelled
from effscope.spec.layout import Layout

LIGHT_HEAD = Change(HEAD, "light-head")

Changes = tuple[Change, ...]
"""A variant of the base: its changes, sorted by stage and move. The empty tuple is the base itself."""


def canonical(changes: Iterable[Change]) -> Changes:
    """The changes sorted by stage and move, so that a variant has only one form.

    Raises:
        EffscopeError: two changes of one part of a stage.
    """
    found = tuple(sorted(changes, key=lambda change: (change.stage, change.move)))
    if len({place(change) for change in found}) < len(found):
        raise EffscopeError(f"a stage can change only once: {spelled(found)}")
    return found


def place(change: Change) -> tuple[int, str | None]:
    """The stage and the part of it that a change replaces."""
    return change.stage, MOVES[change.move].part


def layout_of(base: Layout, changes: Iterable[Change]) -> Layout:
    """The base with these changes. Raises EffscopeError for a stage that the move cannot change."""
    layout = base
    for change in canonical(changes):
        layout = swap_stage(layout, change.stage, change.move)
    return layout


def position_of(base: Layout, change: Change) -> int:
    """Position of the layer that a change replaces, in the base and in every variant."""
    return base.index(places(base, change.move)[change.stage])


def changeable(base: Layout, moves: Iterable[str]) -> tuple[Change, ...]:
    """Every change of the base by these moves: by stage, then in the order of the moves; the head comes last.

    Of the moves that make the same layer of a stage only the first is kept.

    Raises:
        EffscopeError: a search cannot use a move, or no move can change anything.
    """
    listed = tuple(moves)
    found = [Change(number, move) for move in listed for number in places(base, move)]
    if not found:
        blocks = ", ".join(dict.fromkeys(stage.block for stage in stages(base))) or "none"
        named = f"move {listed[0]} can" if len(listed) == 1 else f"the moves {', '.join(listed)} can"
        raise EffscopeError(f"{base.name} has no stage that {named} change: its stages are {blocks}")
    made = {(change.stage, layout_of(base, (change,)).layers): change for change in reversed(found)}
    kept = [change for change in found if change in made.values()]
    return tuple(sorted(kept, key=lambda change: (change.stage == HEAD, change.stage)))


def library_of(base: Layout, moves: Iterable[str]) -> tuple[Change, ...]:
    """Every change of a library of the base: `changeable`, and the light head if a move needs it.

    Raises EffscopeError as `changeable` does.
    """
    listed = tuple(moves)
    if set(COMPACT) & set(listed) and places(base, LIGHT_HEAD.move):
        listed = (*listed, LIGHT_HEAD.move)
    return changeable(base, dict.fromkeys(listed))


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
