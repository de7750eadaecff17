"""torch.export of a copy of a module: prints nothing, and does not change the module."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from effscope.errors import EffscopeError, first_line
from effscope.nn.preserved import eval_mode
from effscope.nn.silenced import silenced
from effscope.tracing.aten_map import ATEN
from effscope.tracing.calls import target_name

REASON_LENGTH = 160
SAME_AT_INFERENCE = frozenset({"dropout", "feature_dropout", "alpha_dropout"})
"""Functions that return their input at inference; their schema does not say so."""


def exported(module: nn.Module, shape: tuple[int, ...], name: str) -> torch.export.ExportedProgram:
    """The program of a module in eval mode on an image of a shape (batch, channels, height, width).

    It traces a copy that shares the parameters and has none of the user's hooks. If the module cannot be copied, it
    traces the module and restores its mode. Tracing works on shapes and reads no weights.

    Raises:
        EffscopeError: torch.export cannot trace it; the message has the reason in one line.
    """
    first = next((p for p in module.parameters()), torch.zeros(()))
    dtype = first.dtype if first.is_floating_point() else torch.float32
    with silenced(), _unfused_attention():
        image = torch.zeros(shape, device=first.device, dtype=dtype)
        traced = _copied(module)
        try:
            with eval_mode(traced):
                program = torch.export.export(traced, (image,), strict=False)
                return program.run_decompositions({}) if _writes_into_views(program.graph) else program
        except Exception as e:  # the module's code may raise anything
            reason = first_line(e)[:REASON_LENGTH]
            raise EffscopeError(f"{name} cannot be traced by torch.export at {shape}: {reason}") from e


@contextmanager
def _unfused_attention() -> Iterator[None]:
    """Trace attention as separate operations, not as one fused kernel."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _copied(module: nn.Module) -> nn.Module:
    """A copy with the same parameters. It keeps the hooks of torch itself (weight norm), not those of the user."""
    shared: dict[int, Any] = {id(p): p for p in module.parameters()}
    for each in module.modules():
        shared |= {id(value): value for value in vars(each).values() if isinstance(value, Tensor)}
    try:
        copied = copy.deepcopy(module, shared)
    except Exception:  # an attribute that cannot be copied may raise anything
        return module
    for each in copied.modules():
        for hooks in (each._forward_hooks, each._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if not _is_of_torch(hook)]:
                del hooks[key]
    return copied


def _is_of_torch(hook: Any) -> bool:
    return str(getattr(hook, "__module__", "")).partition(".")[0] == "torch"


def _writes_into_views(graph: fx.Graph) -> bool:
    """Whether the program must be rewritten without in-place operations.

    This is needed if an in-place operation becomes a primitive (primitives do not work in place) and its memory is
    read later under another name; or if parts of the program are wrapped (no_grad, autocast).
    """
    position = {node: n for n, node in enumerate(graph.nodes)}
    memory: dict[fx.Node, fx.Node] = {}
    names: dict[fx.Node, list[fx.Node]] = defaultdict(list)
    for node in graph.nodes:
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            return True
        source, writes = _shares_memory_with(node)
        root = memory[node] = memory.get(source, source) if source is not None else node
        if writes and source is not None and target_name(node.target) in ATEN:
            others = [other for other in (root, *names[root]) if other is not source]
            if any(position[user] > position[node] for other in others for user in other.users):
                return True
        names[root].append(node)
    return False


def _shares_memory_with(node: fx.Node) -> tuple[fx.Node | None, bool]:
    """The argument that shares its memory with the result, or None; and whether the call writes to it."""
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return None, False
    if not isinstance(node.target, torch._ops.OpOverload):
        return node.args[0], False
    first = node.target._schema.arguments[0]
    if first.alias_info is None:
        same = target_name(node.target).partition(".")[0] in SAME_AT_INFERENCE
        return (node.args[0] if same else None), False
    return node.args[0], first.alias_info.is_write
