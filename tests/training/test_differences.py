"""Names of the settings that differ."""

from __future__ import annotations

from effscope.differences import differences


def test_equal_settings_have_no_differences() -> None:
    assert differences({"a": 1, "b": {"c": None}}, {"b": {"c": None}, "a": 1}) == []


def test_differences_are_named_by_their_path_and_sorted() -> None:
    ours = {"seed": 0, "recipe": {"lr": 0.1, "mosaic": 1.0}, "only": 1}
    theirs = {"seed": 0, "recipe": {"lr": 0.2, "mosaic": 1.0}, "data": "x"}
    assert differences(ours, theirs) == ["data", "only", "recipe.lr"]


def test_a_dict_against_a_number_is_one_difference() -> None:
    assert differences({"recipe": {"lr": 0.1}}, {"recipe": 1}) == ["recipe"]
