"""The other counters themselves, run on a model: fvcore, thop and torch's FlopCounterMode."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from effscope.errors import EffscopeError
from effscope.nn.silenced import silenced
from effscope.results import CounterRow, CountersResult, version
from effscope.spec.graph import image_shape

REASON_LENGTH = 80
EXTRA = 'pip install "effscope[crosscheck]"'


def _fvcore(module: nn.Module, image: Tensor) -> int:
    from fvcore.nn import FlopCountAnalysis  # noqa: PLC0415 - optional

    return int(
        FlopCountAnalysis(module, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    )


def _thop(module: nn.Module, image: Tensor) -> int:
    from thop import profile  # noqa: PLC0415 - optional

    return int(profile(module, inputs=(image,), verbose=False)[0])


def _torch(module: nn.Module, image: Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415 - slow import

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(image)
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class Tool:
    """A counting tool: how it is run, the distribution it comes with, whether it is given parameters with gradients."""

    run: Callable[[nn.Module, Tensor], int]
    distribution: str
    gradients: bool = False


TOOLS = {"fvcore": Tool(_fvcore, "fvcore", gradients=True), "thop": Tool(_thop, "thop"), "torch": Tool(_torch, "torch")}
"""Counters of `costing.counters.COUNTERS` that can be run on a module."""


def crosscheck(result: CountersResult, module: nn.Module) -> CountersResult:
    """The result with what the tools themselves say of the module, in `measured`.

    Each tool is given a copy of its own in eval mode, so that nothing it leaves behind is kept; fvcore traces as its
    users do, with gradients (also of what is frozen), torch's counter runs without.

    Args:
        result: what our rules say, one row a tool.
        module: takes images (1, 3, imgsz, imgsz).

    Raises:
        EffscopeError: none of the rows is of a tool that can be run.
    """
    if not any(row.counter in TOOLS for row in result.rows):
        raise EffscopeError(f"--check runs {', '.join(TOOLS)}: {result.rows[0].counter} is no tool to run on a module")
    rows = [_measured(row, module, result.imgsz) if row.counter in TOOLS else row for row in result.rows]
    return replace(result, rows=tuple(rows))


def _measured(row: CounterRow, module: nn.Module, imgsz: int) -> CounterRow:
    tool = TOOLS[row.counter]
    if find_spec(tool.distribution) is None:
        return replace(row, version=f"not installed: {EXTRA}")
    found = version(tool.distribution)
    if found == "none":  # the module is there, the distribution is not: another package's files answer
        return replace(row, version=f"another package answers to the name {tool.distribution}: not compared")
    first = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    image = torch.zeros(image_shape(imgsz), device=first.device, dtype=first.dtype)
    copied = copy.deepcopy(module).eval()
    for parameter in copied.parameters():
        parameter.requires_grad_(tool.gradients and parameter.is_floating_point())
    with silenced():
        try:
            measured = tool.run(copied, image)
        except Exception as e:  # the tools raise whatever they and the model raise
            reason = (str(e).splitlines() or [type(e).__name__])[0]
            return replace(row, version=f"{found} fails: {reason[:REASON_LENGTH]}")
    return replace(row, measured=measured, version=found)
