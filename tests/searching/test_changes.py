"""Changes and variants: one spelling each, exact costs from one count."""

from __future__ import annotations

from itertools import combinations

import pytest

from effscope.config import SearchConfig
from effscope.costing.model import cost
from effscope.errors import EffscopeError
from effscope.layouts.moves import MOVES
from effscope.layouts.zoo.catalog import layout
from effscope.results import Change
from effscope.searching.changes import canonical, changeable, count_all, layout_of, spelled

CIB8, CIB4, LK7 = Change(8, "cib"), Change(4, "cib"), Change(7, "cib-lk")


def test_a_variant_has_one_spelling() -> None:
    assert canonical((CIB8, LK7, CIB4)) == canonical((CIB4, CIB8, LK7)) == (CIB4, LK7, CIB8)
    assert spelled(canonical((CIB8, LK7))) == "7 cib-lk, 8 cib"
    assert spelled(()) == "base"
    with pytest.raises(EffscopeError, match="a stage can change only once"):
        canonical((CIB8, Change(8, "cib-lk")))


def test_stages_that_are_compact_already_cannot_change() -> None:
    base = layout("yolov8n")
    assert changeable(base, "cib") == (1, 2, 3, 4, 5, 6, 7, 8)
    assert changeable(layout_of(base, (CIB8, CIB4)), "cib-lk") == (1, 2, 3, 5, 6, 7)


@pytest.mark.parametrize("name", ["yolov8n", "yolov8s", "yolo11n", "yolov5n"])
def test_costs_of_variants_add_up_to_the_exact_count(name: str) -> None:
    base = layout(name)
    moves = [move for move, known in MOVES.items() if known.changes_stage is not None]
    changes = [Change(stage, move) for move in moves for stage in changeable(base, move)]
    costs = count_all(base, base, changes, 160)
    picks = [pick for n in (0, 1, 2, 3) for pick in combinations(changes[::2], n) if len({c.stage for c in pick}) == n]
    for pick in picks[::5]:
        counted = cost(layout_of(base, pick), 160)
        found = costs.of(pick)
        assert (found.params, found.flops) == (counted.params_one_head, counted.flops), pick


def test_a_search_takes_the_moves_that_say_which_stages_they_change() -> None:
    """The words of the setting `move` are the moves of a search, in the table's order."""
    moves = [name for name, known in MOVES.items() if known.changes_stage is not None]
    for move in moves:
        assert SearchConfig(move=move).move == move
    with pytest.raises(EffscopeError, match=f"choose one of {', '.join(moves)}$"):
        SearchConfig(move="psa")
    for move in ("psa", "nonsense"):
        with pytest.raises(EffscopeError, match=f"unknown `move` '{move}': choose one of {', '.join(moves)}$"):
            changeable(layout("yolov8n"), move)
