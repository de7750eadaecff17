"""Calls of torch's layers in the code of a TorchScript archive: which function, which groups, which epsilon."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from effscope.checkpoint.layer_calls import NORM, LayerCall

MAX_GROUPS = 2**20
STRIDE, TRANSPOSED = 3, 6
"""Positions in the calls of `_convolution`."""

BATCH_NORM = "batch_norm"
EPS = 7
"""Position of the epsilon in the calls of batch norms."""

GROUPS = {"_convolution": 8, "conv1d": 6, "conv2d": 6, "conv3d": 6, **{f"conv_transpose{n}d": 6 for n in (1, 2, 3)}}
"""Function -> position of the groups in its calls."""


def local_names(tree: ast.AST) -> dict[str, str]:
    """Names that stand for a function (`_0 = __torch__.torch.nn.functional.batch_norm`): name -> last name of it."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
            found |= {target.id: node.value.attr for target in node.targets if isinstance(target, ast.Name)}
    return found


def called(function: ast.expr, names: Mapping[str, str]) -> str:
    """The last name of a called function, also of one with a local name."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return names.get(function.id, "") if isinstance(function, ast.Name) else ""


def constant(arguments: Sequence[ast.expr], position: int) -> Any:
    """The constant at a position of a call; 1 if the call is shorter, None if it is not a constant."""
    if position >= len(arguments):
        return 1
    value = arguments[position]
    return value.value if isinstance(value, ast.Constant) else None


def groups_of(value: Any) -> int | None:
    """A number of groups; None for anything else."""
    return value if type(value) is int and 0 < value <= MAX_GROUPS else None


def eps_of(value: Any) -> float | None:
    """An epsilon; None for anything else."""
    return float(value) if type(value) in (int, float) and 0 <= value < 1 else None


def function_call(
    name: str, arguments: Sequence[ast.expr], given: Sequence[Any], path: str, out: int
) -> LayerCall | None:
    """The call of a layer by a module of another class than torch's, which calls torch's function itself.

    Args:
        name: last name of the function.
        arguments: its arguments by position, as they are written.
        given: their values.
        path: path of the calling module.
        out: the value that it makes.
    """
    if name == BATCH_NORM:
        owners = [value[0] for value in given if isinstance(value, tuple) and value[1] == "running_mean"]
        return LayerCall(owners[0], NORM, given[0], out, eps=eps_of(constant(arguments, EPS))) if owners else None
    if name not in GROUPS or len(arguments) <= STRIDE:
        return None
    groups = groups_of(constant(arguments, GROUPS[name]))
    if name == "_convolution":
        turned, strides = constant(arguments, TRANSPOSED) is True, arguments[STRIDE]
        name = f"conv{'_transpose' if turned else ''}{len(strides.elts) if isinstance(strides, ast.List) else 0}d"
    class_name = name.replace("conv_transpose", "ConvTranspose").replace("conv", "Conv")
    weight = given[1]
    if isinstance(weight, tuple):
        return LayerCall(weight[0], class_name, given[0], out, groups) if weight[1] == "weight" else None
    return LayerCall(path, class_name, given[0], out, groups, computed=True)
