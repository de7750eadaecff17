"""torch.export of a copy of a module: prints nothing, and does not change the module."""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils._pytree import tree_leaves

from effscope.errors import EffscopeError, first_line
from effscope.nn.preserved import eval_mode
from effscope.nn.silenced import silenced
from effscope.tracing.aten_map import ATEN
from effscope.tracing.calls import target_name
from effscope.tracing.inputs import Inputs, image_inputs

REASON_LENGTH = 160
SAME_AT_INFERENCE = frozenset({"dropout", "feature_dropout", "alpha_dropout"})
"""Functions that return their input at inference; their schema does not say so."""

ON_VALUES = "a branch of its forward depends on values: counted as it runs for one image of random values from 0 to 1"
"""Note on a trace that followed the values of one image."""

REASONS = {
    "missing (a required|\\d+ required)": "its forward takes more arguments: give them as `inputs`",
    "ScriptModule|TS2EP": "it is a TorchScript module: save it with torch.jit.save and give the file",
    r"quantized|torch\.classes": "it is quantised: give the module as it was before",
    "indices.* scalar types": "it takes whole numbers, not an image: give them as `inputs`",
    "meta tensor": "its parameters are on the meta device and its forward reads values: give it with weights",
    "data-dependent|Data dependent|unhinted": "its forward depends on values of the image in a way that has no trace",
    r"numpy|tensor subclass|[Ff]ake ?[Tt]ensor|pytree|dynamo|SymInt|SymBool|Proxy|HigherOrder|torch\.export|aten\.": (
        "its forward does something that has no trace (it reads values, or leaves torch)"
    ),
}
"""Pattern of a message of torch -> the reason in our words."""


@dataclass(frozen=True)
class Exported:
    """A traced module: its program, and a note for the reader, or ""."""

    program: torch.export.ExportedProgram
    note: str = ""


def exported(module: nn.Module, inputs: Inputs, name: str) -> Exported:
    """The program of a module in eval mode.

    It traces a copy that shares the parameters and has none of the user's hooks. If the module cannot be copied, it
    traces the module and restores it. Tracing works on shapes and reads no weights. If `forward` branches on values,
    it runs once with random values, and the branches that it takes are traced.

    Raises:
        EffscopeError: torch.export cannot trace it; the message has the reason in one line.
    """
    with silenced(), _unfused_attention():
        traced = _copied(module)
        with _plain_outputs(traced), eval_mode(traced):
            try:
                return Exported(_program(traced, inputs))
            except Exception as e:  # the module's code may raise anything
                reason = e
            if _depends_on_values(reason):
                try:
                    return Exported(_followed(traced, inputs), ON_VALUES)
                except Exception as e:
                    reason = e
    raise EffscopeError(f"{name} cannot be traced at {inputs.shape}: {_in_words(reason)}") from reason


def _program(module: nn.Module, inputs: Inputs) -> torch.export.ExportedProgram:
    program = torch.export.export(module, inputs.args, dict(inputs.kwargs), strict=False)
    return program.run_decompositions({}) if _writes_into_views(program.graph) else program


def _followed(module: nn.Module, inputs: Inputs) -> torch.export.ExportedProgram:
    """The program along the branches that are taken for random values."""
    first = inputs.args[0] if len(inputs.args) == 1 and not inputs.kwargs else None
    is_image = isinstance(first, Tensor) and bool((first == 0).all())
    given = image_inputs(module, inputs.shape, random=True) if is_image else inputs
    return torch.export.draft_export(module, given.args, dict(given.kwargs), strict=False)


def _depends_on_values(error: Exception) -> bool:
    return isinstance(error, GuardOnDataDependentSymNode) or "data-dependent" in str(error)


def _in_words(error: Exception) -> str:
    """The reason in one line, without torch's internals."""
    reason = first_line(error)
    if _depends_on_values(error):
        reason = f"data-dependent {reason}"
    return next((words for pattern, words in REASONS.items() if re.search(pattern, reason)), reason[:REASON_LENGTH])


@contextmanager
def _plain_outputs(module: nn.Module) -> Iterator[None]:
    """Let the forward of a module return its tensors in a tuple if it returns an object of another class."""
    forward, own = module.forward, vars(module).get("forward")

    @wraps(forward)
    def plain(*args: Any, **kwargs: Any) -> Any:
        found = forward(*args, **kwargs)
        return found if all(map(_is_plain, tree_leaves(found))) else tuple(_tensors(found, set()))

    module.forward = plain
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, Tensor | int | float | str)


def _tensors(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """The tensors in any object: in sequences, mappings, and attributes; each object once."""
    if isinstance(value, Tensor):
        yield value
        return
    if id(value) in seen or isinstance(value, str | bytes | type | nn.Module):
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, list | tuple | set):
        parts = list(value)
    else:
        parts = [getattr(value, name, None) for name in (*vars(type(value)).get("__slots__", ()), *_attributes(value))]
    for part in parts:
        yield from _tensors(part, seen)


def _attributes(value: Any) -> tuple[str, ...]:
    return tuple(getattr(value, "__dict__", ()))


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
