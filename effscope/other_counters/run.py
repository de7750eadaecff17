"""Run the other tools on a module, to check effscope's rules for them."""

from __future__ import annotations

import copy
from dataclasses import replace
from importlib.util import find_spec

import torch
from torch import nn

from effscope.config.image_size import image_shape
from effscope.errors import EffscopeError, first_line
from effscope.nn.silenced import silenced
from effscope.other_counters.counter import Tool
from effscope.other_counters.tools import COUNTERS
from effscope.results import CounterRow, CountersResult, version

REASON_LENGTH = 80
EXTRA = 'pip install "effscope[crosscheck]"'

TOOLS: dict[str, Tool] = {name: counter.tool for name, counter in COUNTERS.items() if counter.tool is not None}
"""Counters that can run on a module."""


def crosscheck(result: CountersResult, module: nn.Module, image: tuple[int, ...] | None = None) -> CountersResult:
    """Add the count of each tool to the result, in `measured`.

    Each tool gets a separate copy of the module in eval mode, so the module does not change. For fvcore all parameters
    require gradients, also frozen ones, as in its usual use. For the other tools none does.

    Args:
        result: counts by effscope's rules, one row per counter.
        module: a module for one image.
        image: shape of the image, (batch, channels, height, width); default: that of the result.

    Raises:
        EffscopeError: no counter in the result is a tool that can run.
    """
    if not any(row.counter in TOOLS for row in result.rows):
        raise EffscopeError(f"`check` runs {', '.join(TOOLS)}: {result.rows[0].counter} cannot run on a module")
    shape = image or image_shape(result.imgsz)
    rows = [_measured(row, module, shape) if row.counter in TOOLS else row for row in result.rows]
    return replace(result, rows=tuple(rows))


def _measured(row: CounterRow, module: nn.Module, shape: tuple[int, ...]) -> CounterRow:
    tool = TOOLS[row.counter]
    if find_spec(tool.distribution) is None:
        return replace(row, version=f"not installed: {EXTRA}")
    installed = version(tool.distribution)
    if installed == "none":  # a module of that name exists, but it belongs to another distribution
        return replace(row, version=f"the module {tool.distribution} is from another package: not compared")
    first = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    image = torch.zeros(shape, device=first.device, dtype=first.dtype)
    copied = copy.deepcopy(module).eval()
    for parameter in copied.parameters():
        parameter.requires_grad_(tool.gradients and parameter.is_floating_point())
    with silenced():
        try:
            measured = tool.run(copied, image)
        except Exception as e:  # the tool or the model may raise anything
            return replace(row, version=f"{installed} fails: {first_line(e)[:REASON_LENGTH]}")
    return replace(row, measured=measured, version=installed)
