"""How results show themselves in Python: short as text, a table in a notebook, for every kind."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.results import BY_KIND

from effscope.results import KINDS, Change, EvalResult, SearchResult, TensorRow, TensorsResult
from effscope.results.showing import MOST_ROWS, cell, listed, number, with_prefix


class Table(HTMLParser):
    """The cells of a table, row by row; every tag that opens must close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.mark.parametrize("kind", KINDS)
def test_every_result_is_short_as_text(kind: str) -> None:
    result = BY_KIND[kind]
    lines = repr(result).splitlines()
    assert 2 <= len(lines) <= 5
    assert lines[0].startswith(f"{KINDS[kind]}: ")
    assert str(getattr(result, "model", "")) in repr(result)
    assert lines[-1].strip() == f"{len(result.to_rows())} row{'s' * (len(result.to_rows()) != 1)}: .to_frame()"
    assert all(len(line) <= 140 for line in lines)
    assert re.search(r"\d", repr(result))


@pytest.mark.parametrize("kind", KINDS)
def test_every_result_is_a_table_in_a_notebook(kind: str) -> None:
    """Its columns are columns of `to_frame()`, and no cell is a list or a dict in Python's words."""
    result = BY_KIND[kind]
    table = Table(result._repr_html_())
    head, *body = table.rows
    assert head == [name for name in result.SHOWN if name in result.to_frame().columns]
    assert 2 <= len(head) <= 9
    assert kind in ("eval", "train") or set(head) == set(result.SHOWN)  # these have fewer columns in older files
    assert len(body) == min(len(result.to_rows()), MOST_ROWS)
    for shown, row in zip(body, result.to_rows(), strict=False):
        assert shown == [cell(row.get(name)) for name in head]
        assert not re.search(r"[\[{(]|None|True|False|'", "".join(shown[1:2]))
    assert repr(result).splitlines()[0] in table.text


def test_a_list_of_results_is_short_too() -> None:
    assert len(repr((BY_KIND["rank"], BY_KIND["rank"]))) < 800


def test_a_long_table_is_cut_and_says_so() -> None:
    rows = tuple(TensorRow(f"layer {n}", "Conv", n) for n in range(MOST_ROWS + 12))
    table = Table(replace(BY_KIND["tensors"], layers=rows)._repr_html_())  # type: ignore[type-var]
    assert len(table.rows) == 1 + MOST_ROWS
    assert table.text.endswith("... 12 more rows: to_frame()")
    one_more = replace(BY_KIND["tensors"], layers=rows[: MOST_ROWS + 1])  # type: ignore[type-var]
    assert isinstance(one_more, TensorsResult)
    assert Table(one_more._repr_html_()).text.endswith("... 1 more row: to_frame()")


def test_names_are_escaped() -> None:
    result = BY_KIND["eval"]
    assert isinstance(result, EvalResult)
    odd = replace(result, model="<script>a&b", per_class={"<b>zelle</b>": 0.5}, classes=())
    html = odd._repr_html_()
    assert "<script>" not in html and "<b>zelle" not in html
    assert Table(html).rows[1][0] == "<b>zelle</b>"
    assert "<script>a&b" in Table(html).text


def test_the_numbers_that_decide_are_those_of_the_result() -> None:
    texts = {kind: repr(result) for kind, result in BY_KIND.items()}
    assert "3,157,200 parameters" in texts["cost"] and "3,151,904" in texts["cost"]  # yolov8n as published
    assert "AP 0.400" in texts["eval"] and "AP50 0.600" in texts["eval"]
    assert "-10.0 %" in texts["search"] and "latency +30.0 %" in texts["search"]  # saved -0.3: slower
    search = BY_KIND["search"]
    assert isinstance(search, SearchResult)
    changes = (Change(8, "cib"), Change(4, "cib"))
    two = replace(search, accepted=changes, trials=(replace(search.trials[0], changes=changes[::-1], ap_mean=0.437),))
    assert "AP 0.437, base 0.400" in repr(two)  # a trial lists its changes by stage, not in the order of the search
    assert "(-0.020 to +0.020, 95 %)" in texts["compare"]
    assert "rank 8 of 256" in texts["rank"]


@given(st.integers(-(10**15), 10**15))
def test_whole_numbers_keep_every_digit(value: int) -> None:
    assert int(number(value).replace(",", "")) == value


@given(st.floats(1e-6, 1e14))
def test_other_numbers_keep_three_digits(value: float) -> None:
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=1e-3)
    digits, *prefix = with_prefix(value).split()
    power = {"k": 3, "M": 6, "G": 9, "T": 12}[prefix[0]] if prefix else 0
    assert float(digits.replace(",", "")) * 10**power == pytest.approx(value, rel=6e-3)


def test_prefixes_rise() -> None:
    texts = [with_prefix(10.0**k) for k in range(14)]
    assert texts[2:7] == ["100", "1.00 k", "10.00 k", "100.00 k", "1.00 M"]
    assert all(a != b for a, b in pairwise(texts))


def test_cells_by_hand() -> None:
    assert [cell(v) for v in (None, True, False, 1234, 0.123456, (256, 384), ("a", 0.5), {"ms": 1.5}, "x")] == [
        "", "yes", "no", "1,234", "0.1235", "256 x 384", "a, 0.5", "ms 1.5", "x",
    ]  # fmt: skip
    assert listed(range(3), 2) == "0, 1 and 1 more"
