"""Sizes of the input in every spelling."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effscope.config import image_shape, read_image_size, size_words
from effscope.errors import EffscopeError

SIDES = st.integers(1, 9999)


@given(st.lists(SIDES, min_size=1, max_size=5), st.sampled_from(["x", ",", " x ", ", ", "X"]))
def test_text_and_numbers_are_read_alike(numbers: list[int], between: str) -> None:
    size = read_image_size("imgsz", numbers)
    assert size == read_image_size("imgsz", between.join(map(str, numbers))) == read_image_size("imgsz", tuple(numbers))
    if len(numbers) <= 2:
        assert image_shape(size, 4) == (1, 4, numbers[0], numbers[-1])
    else:
        assert image_shape(size, 4) == tuple(numbers)


@pytest.mark.parametrize(
    ("size", "words"),
    [(640, "640 px"), ((320, 640), "320x640 px"), ((1, 1, 64, 64), "input 1x1x64x64"), ((), "the given inputs")],
)
def test_words(size: Any, words: str) -> None:
    assert size_words(size) == words


@pytest.mark.parametrize("wrong", ["", "x", "64x", "six", "64.5", 64.5, True, [], None, "-64", (64, 0), "1x3x-64x64"])
def test_other_values_are_refused(wrong: Any) -> None:
    with pytest.raises(EffscopeError, match="`imgsz` must be"):
        read_image_size("imgsz", wrong)
