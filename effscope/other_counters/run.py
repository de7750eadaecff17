"""Run the other tools on a module, to check effscope's rules for them."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from effscope.config.image_size import image_shape
from effscope.errors import first_line
from effscope.nn.silenced import silenced
from effscope.other_counters.tools import TOOLS, check_installed
from effscope.results import CounterRow, CountersResult, version

REASON_LENGTH = 80


def crosscheck(result: CountersResult, module: nn.Module, image: tuple[int, ...] | None = None) -> CountersResult:
    """Add the count of each tool to the result, in `measured`.

    Each tool gets a separate copy of the module in eval mode, so the module does not change. For fvcore all parameters
    require gradients, also frozen ones, as in its usual use. For the other tools none does.

    Args:
        result: counts by effscope's rules, one row per counter.
        module: a module for one image.
        image: shape of the image, (batch, channels, height, width); default: that of the result.

    Raises:
        EffscopeError: a tool is not installed, or no counter in the result is a tool that can run.
    """
    names = [row.counter for row in result.rows]
    check_installed([name for name in names if name in TOOLS] or names)
    shape = image or image_shape(result.imgsz)
    rows = [_measured(row, module, shape) if row.counter in TOOLS else row for row in result.rows]
    return replace(result, rows=tuple(rows))


def _measured(row: CounterRow, module: nn.Module, shape: tuple[int, ...]) -> CounterRow:
    tool = TOOLS[row.counter]
    installed = version(tool.distribution)
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
