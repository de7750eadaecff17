"""Orders of stages: Kendall's tau against SciPy, ties, and the stages that change their order."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from effscope.ranking.order import kendall_tau, ordered, ties, unsettled

RATIOS = st.dictionaries(st.integers(1, 12), st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), max_size=12)


@given(RATIOS, RATIOS)
def test_tau_is_scipys(a: dict[int, float], b: dict[int, float]) -> None:
    common = sorted(set(a) & set(b))
    found = kendall_tau(a, b)
    expected = kendalltau([a[k] for k in common], [b[k] for k in common]).statistic if len(common) > 1 else math.nan
    assert found is None if math.isnan(expected) else found == pytest.approx(expected)
    assert found == kendall_tau(b, a)


@given(RATIOS)
def test_an_order_agrees_with_itself_and_not_with_its_reverse(ratios: dict[int, float]) -> None:
    tau, reverse = kendall_tau(ratios, ratios), kendall_tau(ratios, {k: -v for k, v in ratios.items()})
    assert (tau is None) == (len(set(ratios.values())) < 2)
    if tau is not None and reverse is not None:
        assert (tau, reverse) == (pytest.approx(1.0), pytest.approx(-1.0))
    assert unsettled(ratios, [ratios]) == ()
    flat = [stage for group in ties(ratios) for stage in group]
    assert len(flat) == len(set(flat))


def test_orders_and_ties_by_hand() -> None:
    ratios = {1: 0.2, 2: 0.5, 3: 0.2, 4: 0.1, 5: 0.5}
    assert ordered(ratios) == (4, 1, 3, 2, 5)
    assert ties(ratios) == ((1, 3), (2, 5))


def test_groups_of_stages_that_change_their_order() -> None:
    base = {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4, 5: 0.5}
    assert unsettled(base, []) == ()
    assert unsettled(base, [{**base, 2: 0.35}]) == ((2, 3),)
    assert unsettled(base, [{**base, 2: 0.35}, {**base, 3: 0.45}]) == ((2, 3, 4),)  # by way of the third
    assert unsettled(base, [{**base, 2: 0.35}, {**base, 5: 0.38}]) == ((2, 3), (4, 5))
    assert unsettled({1: 0.2, 2: 0.2}, [{1: 0.3, 2: 0.1}]) == ()  # equal before: no place to change
    assert unsettled(base, [{1: 0.9}]) == ()
