"""Tables of counts fit a terminal of 80 columns: without their `narrow` columns no row is wrapped and no name cut."""

from __future__ import annotations

import re

import pytest

from effscope import api
from effscope.layouts.zoo.catalog import ZOO
from effscope.models.open import open_model
from effscope.reporting.page import Table
from effscope.reporting.pages import pages
from effscope.reporting.pages.counters import page as counters_page
from effscope.results import Result

WIDTH, GAP = 80, 2
RESULTS = {
    "zoo": api.zoo,
    "devices": api.devices,
    "diff": lambda: api.diff("yolov8n", "yolov10x"),
    "diff of unlike models": lambda: api.diff("yolox-nano-dwconv-vanilla", "yolov8x-p6"),
    "scale": lambda: api.scaled_cost("yolov8x-p6", "0..9"),
    **{
        f"{layer} {cin}": lambda layer=layer, cin=cin: api.layer_cost(layer, cin, symbolic=True)
        for layer in ("conv3x3", "cib", "psa", "c2f", "inverted-residual", "class-head")
        for cin in (128, 2048)
    },
}


def least_width(table: Table) -> int:
    """Characters of the widest row and header without the columns that a narrow terminal leaves out."""
    for column in set(table.narrow) & set(table.columns):
        table = table.without(column)
    cells = zip(*((*(name.strip() for name in table.columns),), *table.rows), strict=True)
    return sum(max(map(len, column)) for column in cells) + GAP * (len(table.columns) - 1)


def tables(*found: Result) -> list[Table]:
    return [part for page in pages(*found) for part in page.parts() if isinstance(part, Table)]


@pytest.mark.parametrize("name", RESULTS)
def test_tables_fit(name: str) -> None:
    for table in tables(RESULTS[name]()):
        assert least_width(table) <= WIDTH, table.title
        assert table.columns[0] not in table.narrow


@pytest.mark.parametrize("name", ["yolov8n", "yolov10x", "yolox-nano-dwconv-vanilla", "rtdetr-x", "yolov8n-rtdetr"])
def test_the_terms_of_other_tools_fit(name: str) -> None:
    for table in (part for part in counters_page(api.counters(name), True).parts() if isinstance(part, Table)):
        assert least_width(table) <= WIDTH, table.title


def test_the_words_of_every_rule_are_short_enough() -> None:
    """31 characters are left beside the longest operation and a count of 14."""
    from effscope.other_counters.tools import COUNTERS

    says = {rule.says for counter in COUNTERS.values() for rule in counter.rules.values()}
    assert max(map(len, says)) <= WIDTH - len("our multiply-adds, 2 FLOPs each") - len("+1,868,608,000") - 2 * GAP + 6


def test_a_narrow_zoo_keeps_names_counts_and_ap() -> None:
    (table,) = tables(api.zoo())
    for column in table.narrow:
        table = table.without(column)
    names = [re.sub(r"\*$", "", row[0]) for row in table.rows]
    assert set(ZOO) <= set(names)
    assert {"model", "deploy params", "conv FLOPs", "AP"} <= set(table.columns)
    assert open_model("yolov8n").name in names
