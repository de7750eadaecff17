"""One call of an exported program, and the primitives that replace it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from effscope.spec.ops import Slot

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Primitive:
    """A primitive that replaces a call, or a part of it.

    Attributes:
        op: name of the primitive.
        args: arguments.
        inputs: nodes of the program, or numbers of earlier primitives of the same call.
        owned: the tensors it owns, role -> placeholder node.
    """

    op: str
    args: dict[str, Any]
    inputs: tuple[fx.Node | int, ...]
    owned: dict[str, fx.Node] = field(default_factory=dict)


Found = Primitive | tuple[Primitive, ...] | None
"""What a reader returns: one primitive, several in order (the last is the result), or None."""


@dataclass(frozen=True)
class Call:
    """A call of an exported program.

    Attributes:
        target: name of the overload, e.g. "conv2d.default".
        given: arguments by name, with the defaults of the schema.
        parameters: placeholder nodes of parameters.
        buffers: placeholder nodes of buffers.
        out: shape of the first result.
    """

    target: str
    given: dict[str, Any]
    parameters: frozenset[fx.Node]
    buffers: frozenset[fx.Node]
    out: Shape

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    def shape(self, name: str) -> Shape:
        """Shape of a tensor argument."""
        return shape_of(self.given[name])

    def owned(self, *roles: str, buffers: tuple[str, ...] = ()) -> dict[str, fx.Node] | None:
        """Role -> placeholder, without arguments that are None.

        None if an argument is computed, or if it is a buffer and its role is not in `buffers`.
        """
        found = {role: self.given[role] for role in (*roles, *buffers) if self.given.get(role) is not None}
        stored = all(node in (self.buffers if role in buffers else self.parameters) for role, node in found.items())
        return found if stored else None


def shape_of(node: fx.Node) -> Shape:
    """Shape of a value of the program."""
    return tuple(int(n) for n in node.meta["val"].shape)


def view_of(target: str, x: fx.Node | int, shape: Shape, *operands: Any) -> Primitive:
    """A view of a value, or of an earlier primitive of the same call."""
    args = {"target": target, "operands": (Slot(0), *operands), "keywords": {}, "shape": shape, "tensors": {}}
    return Primitive("view", args, (x,))


def call_of(node: fx.Node, parameters: frozenset[fx.Node], buffers: frozenset[fx.Node]) -> Call:
    """A call_function node of an exported program with its arguments by name."""
    overload: Any = node.target
    schema = overload._schema.arguments
    given = {a.name: a.default_value for a in schema if a.has_default_value()}
    given |= dict(zip((a.name for a in schema), node.args, strict=False)) | dict(node.kwargs)
    value = node.meta["val"]
    first = value[0] if isinstance(value, tuple | list) else value
    return Call(target_name(overload), given, parameters, buffers, tuple(int(n) for n in first.shape))


def target_name(target: Any) -> str:
    """`conv2d.default` for torch.ops.aten.conv2d.default. The name includes a namespace other than aten."""
    name = str(target)
    return (
        name.removeprefix("aten.") if isinstance(target, torch._ops.OpOverload) else getattr(target, "__name__", name)
    )
