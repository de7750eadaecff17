"""Operations with hand-derived truths: counted exactly, or said not to be; never a silent zero."""

from __future__ import annotations

import copy

import pytest
import torch
from battery import CASES, Case

from effscope.costing.counters import COUNTERS
from effscope.costing.crosscheck import TOOLS, quiet
from effscope.costing.estimate import node_costs, total
from effscope.costing.model_cost import coverage, uncounted
from effscope.errors import EffscopeError
from effscope.nn.import_torch import Imported, import_module

BY_NAME = {case.name: case for case in CASES}

REFUSED = {"vmap_conv", "jit_trace", "thread_conv", "covariance", "nms_roi_align", "numpy_inside"}
"""What torch.export cannot trace, or what has no size before it runs: one line says so."""

SAID = {"multi_dot", "matrix_power", "sparse_matmul", "vmap_matmul"}
"""Products of matrices without a law: listed as uncounted."""

AS_VALUES = {"cdist"}
"""Counted by their values, whichever way torch takes."""

OTHERWISE = {
    ("thop", "conv2d_unbatched"): "thop takes the first dimension for channels",
    ("thop", "conv2d_autocast"): "inside of autocast the trace does not know the module",
    ("thop", "checkpoint_reentrant"): "inside of a checkpoint the trace does not know the module",
    ("thop", "encoder_padding_mask"): "with a mask torch drops the padded tokens before the modules that thop watches",
    ("thop", "lstm_projected"): "thop does not know projections",
    ("torch", "lstm_projected"): "an LSTM with projections runs as matrix products",
    ("fvcore", "autograd_function_conv"): "functions of autograd are closed to fvcore",
    ("fvcore", "feature_pyramid"): "fvcore leaves out what no output needs",
    ("fvcore", "einsum_three_in_order"): "numpy's best order, torch multiplies from the left",
    ("fvcore", "einsum_one_operand"): "sums count",
    ("fvcore", "vmap_matmul"): "vmap is uncounted here",
    ("torch", "vmap_matmul"): "vmap is uncounted here",
    ("torch", "multi_dot"): "uncounted here",
    ("torch", "matrix_power"): "uncounted here",
}
"""Where a tool says something else than our rules for it, and why."""


def imported(case: Case) -> tuple[torch.nn.Module, Imported]:
    torch.manual_seed(0)
    module = case.make().eval()
    return module, import_module(module, case.input_shape, case.name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BY_NAME)
def test_counted_exactly_or_said_to_be_uncounted(name: str) -> None:
    case = BY_NAME[name]
    if name in REFUSED:
        with pytest.raises(EffscopeError, match=r"cannot be (traced|counted)"):
            imported(case)
        return
    _, found = imported(case)
    rows = node_costs(found.graph, case.input_shape)
    counts, _ = total(rows)
    said = uncounted(rows)
    assert coverage(rows)["uncounted"] == sum(row.calls for row in said)
    assert all(row.macs_at_most for row in said)
    if said:
        assert name in SAID or case.macs is None, [row.name for row in said]
        assert counts.macs <= case.countable_macs
    elif name not in AS_VALUES:
        assert counts.macs in (case.macs, *case.alternatives), case.derivation
    assert counts.conv_macs == case.conv_macs, case.derivation


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in REFUSED])
def test_the_tools_say_what_our_rules_for_them_say(name: str) -> None:
    case = BY_NAME[name]
    module, found = imported(case)
    rows = node_costs(found.graph, case.input_shape)
    image = torch.rand(case.input_shape)
    for tool, counter in {name: COUNTERS[name] for name in TOOLS}.items():
        with quiet():
            try:
                told = TOOLS[tool].run(copy.deepcopy(module).eval(), image)
            except Exception:  # the tool cannot run this module
                continue
        same = told == sum(counter.count(row)[0] for row in rows)
        assert same != ((tool, name) in OTHERWISE), (tool, told)
