"""Operations derived by hand: counted exactly or listed as uncounted, never silently as 0."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from battery import CASES, Case
from battery.case import Net
from effscope.costing.laws import Counts
from effscope.costing.model import coverage, uncounted
from effscope.costing.nodes import node_costs, total
from effscope.costing.torch_laws import FUNCTIONS
from effscope.errors import EffscopeError
from effscope.nn.silenced import silenced
from effscope.other_counters.tools import COUNTERS, TOOLS
from effscope.tracing.aten_kinds import KINDS
from effscope.tracing.importer import Imported, import_module

BY_NAME = {case.name: case for case in CASES}

REFUSED = {"vmap_conv", "jit_trace", "thread_conv", "covariance", "nms_roi_align", "numpy_inside"}
"""Cases that torch.export cannot trace, or with sizes that depend on values: an error of one line."""

UNCOUNTED = {"multi_dot", "matrix_power", "sparse_matmul", "vmap_matmul"}
"""Matrix products without a law: listed as uncounted."""

AS_VALUES = {"cdist"}
"""Counted by their values, because torch chooses the method at run time."""

DIFFERENT = {
    ("thop", "conv2d_unbatched"): "thop takes the first dimension for channels",
    ("thop", "conv2d_autocast"): "inside of autocast the trace does not know the module",
    ("thop", "checkpoint_reentrant"): "inside of a checkpoint the trace does not know the module",
    ("thop", "encoder_padding_mask"): "with a mask torch drops the padded tokens before the modules that thop watches",
    ("thop", "lstm_projected"): "thop does not know projections",
    ("torch", "lstm_projected"): "an LSTM with projections runs as matrix products",
    ("fvcore", "autograd_function_conv"): "fvcore does not look into autograd functions",
    ("fvcore", "feature_pyramid"): "fvcore ignores what no output needs",
    ("fvcore", "einsum_three_in_order"): "numpy's best order, torch multiplies from the left",
    ("fvcore", "einsum_one_operand"): "sums count",
    ("fvcore", "vmap_matmul"): "vmap is uncounted here",
    ("torch", "vmap_matmul"): "vmap is uncounted here",
    ("torch", "multi_dot"): "uncounted here",
    ("torch", "matrix_power"): "uncounted here",
}
"""(tool, case) -> why the tool gives another number than our rules for it."""


FAILS = {
    *(("fvcore", name) for name in ("checkpoint_reentrant", "functional_call", "exported_program", "matrix_by_vector")),
    *((tool, f"compile_{kind}") for tool in ("fvcore", "thop") for kind in ("eager_backend", "inductor")),
}
"""(tool, case) that the tool cannot run."""


def imported(case: Case) -> tuple[torch.nn.Module, Imported]:
    torch.manual_seed(0)
    module = case.make().eval()
    return module, import_module(module, case.input_shape, case.name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BY_NAME)
def test_every_operation_is_counted_exactly_or_listed_as_uncounted(name: str) -> None:
    case = BY_NAME[name]
    if name in REFUSED:
        with pytest.raises(EffscopeError, match=r"cannot be (traced|counted)"):
            imported(case)
        return
    _, found = imported(case)
    rows = node_costs(found.graph, case.input_shape)
    counts, _ = total(rows)
    left = uncounted(rows)
    assert coverage(rows)["uncounted"] == sum(row.calls for row in left)
    assert all(row.macs_at_most for row in left)
    if left:
        assert name in UNCOUNTED or case.macs is None, [row.name for row in left]
        assert counts.macs <= case.countable_macs
    elif name not in AS_VALUES:
        assert counts.macs in (case.macs, *case.alternatives), case.derivation
    assert counts.conv_macs == case.conv_macs, case.derivation


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in REFUSED])
def test_the_tools_give_what_our_rules_for_them_give(name: str) -> None:
    case = BY_NAME[name]
    module, found = imported(case)
    rows = node_costs(found.graph, case.input_shape)
    image = torch.rand(case.input_shape)
    for tool, counter in {name: COUNTERS[name] for name in TOOLS}.items():
        with silenced():
            if (tool, name) in FAILS:
                with pytest.raises(Exception, match=""):
                    TOOLS[tool].run(copy.deepcopy(module).eval(), image)
                continue
            measured = TOOLS[tool].run(copy.deepcopy(module).eval(), image)
        same = measured == sum(counter.count(row)[0] for row in rows)
        assert same != ((tool, name) in DIFFERENT), (tool, measured)


def test_no_function_is_in_two_tables() -> None:
    words = [word for functions in KINDS.values() for word in functions] + list(FUNCTIONS)
    assert len(set(words)) == len(words)


def columns(forward: Callable[[Any, torch.Tensor], torch.Tensor], shape: tuple[int, ...] = (1, 3, 4, 6)) -> Counts:
    module = Net(forward)
    counts, _ = total(node_costs(import_module(module, shape, "made").graph, shape))
    return counts


def test_laws_of_functions_by_hand() -> None:
    """Counts for a map of 72 values."""
    half = torch.zeros(1, 2, 3, 2)
    assert columns(lambda m, x: F.gelu(x, approximate="tanh")).act == 2 * 72
    assert columns(lambda m, x: F.hardtanh(x, -2, 2)).act == 72
    assert columns(lambda m, x: torch.max(x.mean((2, 3), keepdim=True), x)).elementwise == 72
    assert columns(lambda m, x: x.amax((2, 3))).pool == 72
    assert columns(lambda m, x: torch.einsum("bchw->bc", x)).pool == 72
    assert columns(lambda m, x: F.instance_norm(x)).norm == 5 * 72
    assert columns(lambda m, x: F.grid_sample(x, half)).resample == 7 * 3 * 2 * 3
    assert columns(lambda m, x: F.grid_sample(x, half, mode="nearest")).resample == 0
    assert columns(lambda m, x: F.grid_sample(x, half, mode="bicubic")).resample == 35 * 3 * 2 * 3
    assert columns(lambda m, x: x.sort(2)[0]).elementwise == 72 * 2
    assert columns(lambda m, x: x.topk(2, -1)[0]).elementwise == 72 * 3


def test_weights_are_read_once_per_call() -> None:
    """Values read: of the parameters of a function, and of a module that is called twice."""
    lstm = nn.LSTM(3, 4, batch_first=True)
    module = Net(lambda m, x: m.lstm(x.flatten(2).transpose(1, 2))[0], lstm=lstm)
    shape = (1, 3, 2, 5)
    rows = node_costs(import_module(module, shape, "made").graph, shape)
    own = sum(p.numel() for p in lstm.parameters())
    states = 2 * 4  # the initial states
    read = next(row for row in rows if row.node.op == "opaque").read
    assert read == own + 30 + states
    assert sum(row.read for row in rows) == read
    conv = nn.Conv2d(3, 3, 1)
    once, twice = (
        sum(row.moved for row in node_costs(import_module(Net(f, conv=conv), shape, "made").graph, shape))
        for f in (lambda m, x: m.conv(x), lambda m, x: m.conv(m.conv(x)))
    )
    assert twice == 2 * once == 2 * (12 + 30 + 30)


def test_the_share_of_uncounted_parameters_with_many_paths() -> None:
    """The share is found without a walk over all 2^40 paths."""

    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        x = m.scale - x
        for _ in range(40):
            x = x - x.abs()
        return torch.fft.fft2(x).real

    found = import_module(Net(forward, scale=nn.Parameter(torch.ones(3, 1, 1))), (1, 3, 4, 4), "made")
    assert found.outline.notes == ("uncounted operations read 3 of 3 parameters (100.0%)",)
