"""Changes and variants: one spelling each, exact costs from one count."""

from __future__ import annotations

from itertools import combinations

import pytest

from effscope.config import MOVE_NAMES, SearchConfig
from effscope.costing.model import cost
from effscope.errors import EffscopeError
from effscope.layouts.moves import MOVES, places
from effscope.layouts.zoo.catalog import layout
from effscope.results import HEAD, Change, spelled
from effscope.searching.changes import canonical, changeable, count_all, layout_of, library_of, place

CIB8, CIB4, LK7 = Change(8, "cib"), Change(4, "cib"), Change(7, "cib-lk")


SEARCHED = [name for name, known in MOVES.items() if known.part is not None]


def test_a_variant_has_one_spelling() -> None:
    assert canonical((CIB8, LK7, CIB4)) == canonical((CIB4, CIB8, LK7)) == (CIB4, LK7, CIB8)
    assert spelled(canonical((CIB8, LK7))) == "cib-lk at 7; cib at 8"
    assert spelled(()) == "base"
    with pytest.raises(EffscopeError, match="a stage can change only once"):
        canonical((CIB8, Change(8, "cib-lk")))


def test_every_change_by_stage_then_by_move() -> None:
    base = layout("yolov8n")
    assert changeable(base, ["cib"]) == tuple(Change(stage, "cib") for stage in range(1, 9))
    found = changeable(base, ["cib", "slim-50", "ghost"])
    assert [(c.stage, c.move) for c in found][:3] == [(1, "cib"), (1, "slim-50"), (1, "ghost")]
    assert len(found) == 8 + 8 + 6


def test_of_moves_that_make_the_same_layer_the_first_is_kept() -> None:
    """Half and three quarters of 24 hidden channels are both 16."""
    base = layout("yolox-tiny")
    every = [Change(stage, move) for move in ("slim-75", "slim-50") for stage in places(base, move)]
    made = {(change.stage, layout_of(base, (change,)).layers) for change in every}
    found = changeable(base, ["slim-75", "slim-50"])
    assert len(found) == len(made) < len(every)
    assert {change.stage for change in every} == {change.stage for change in found}


def test_a_library_with_compact_stages_has_the_light_head_that_they_need() -> None:
    light = Change(HEAD, "light-head")
    assert library_of(layout("yolov8n"), ["cib"])[-1] == light
    assert light not in library_of(layout("yolov8n"), ["slim-50"])
    assert light not in library_of(layout("yolov10n"), ["cib"])


def test_a_stage_and_its_downsampling_can_both_change() -> None:
    both = (Change(8, "slim-50"), Change(8, "ghost"))
    assert canonical(reversed(both)) == (both[1], both[0])
    assert spelled((*both, Change(HEAD, "light-head"))) == "slim-50 at 8; ghost at 8; light-head"
    with pytest.raises(EffscopeError, match="a stage can change only once"):
        canonical((*both, Change(8, "scdown")))


@pytest.mark.parametrize("name", ["yolov8n", "yolov8s", "yolo11n", "yolov5n", "yolov9t", "yolo12n"])
def test_costs_of_variants_add_up_to_the_exact_count(name: str) -> None:
    base = layout(name)
    changes = [Change(stage, move) for move in SEARCHED for stage in places(base, move)]
    costs = count_all(base, base, changes, 160)
    picks = [pick for n in (0, 1, 2, 3) for pick in combinations(changes[::3], n) if len(set(map(place, pick))) == n]
    for pick in picks[::9]:
        counted = cost(layout_of(base, pick), 160)
        found = costs.of(pick)
        assert (found.params, found.flops) == (counted.params_one_head, counted.flops), pick


def test_a_search_takes_the_moves_that_have_a_part() -> None:
    """The words of the setting `moves` are the moves of a search, in the table's order, and families of them."""
    for move in SEARCHED:
        assert SearchConfig(moves=(move,)).moves == (move,)
    with pytest.raises(EffscopeError, match="unknown `moves` 'psa': choose one of cib"):
        SearchConfig(moves=("psa",))
    assert set(MOVE_NAMES) == set(SEARCHED)


def test_a_move_that_changes_no_stage_is_refused() -> None:
    with pytest.raises(EffscopeError, match="yolov9t has no stage that move cib can change: its stages are ELAN1, Rep"):
        changeable(layout("yolov9t"), ["cib"])
