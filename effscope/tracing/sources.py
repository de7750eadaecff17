"""The torch module that made each traced call. The rules of other counters depend on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import fx, nn

from effscope.spec.graph import Source
from effscope.tracing.calls import target_name


class Sources:
    """Sources of the calls of an exported program."""

    def __init__(self, module: nn.Module, program: torch.export.ExportedProgram) -> None:
        self._module = module
        self._paths = Counter(id(each) for each in _all_paths(module))
        trained = program.graph_signature.inputs_to_parameters
        self._cross = {module_of(n) for n in program.graph_module.graph.nodes if _splits_parameter(n, trained)}
        self._known: dict[str, Source] = {}

    def of(self, path: str, target: str) -> Source:
        """The source of a call of the overload `target` by the module at a path."""
        if path not in self._known:
            names = path.split(".") if path else []
            outer = [self._module.get_submodule(".".join(names[:n])) for n in range(len(names) + 1)]
            caller = outer[-1]
            fused = path not in self._cross and any(map(is_fused, outer))
            self._known[path] = Source("", *_torch_class(caller), self._paths[id(caller)], fused)
        return replace(self._known[path], target=target)


def module_of(node: fx.Node) -> str:
    """Path of the module that made a call in its forward, "" for the outermost module."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]).removeprefix("L['self'].").removeprefix("L['self']") if stack else ""


def is_fused(module: nn.Module) -> bool:
    """Whether torch runs a self-attention module as one fused kernel, in eval mode and without gradients.

    Source: the conditions in torch.nn.MultiheadAttention.forward and TransformerEncoderLayer.forward, torch 2.15.
    """
    if type(module) is nn.TransformerEncoderLayer:
        attention, norms = module.self_attn, (module.norm1, module.norm2)
        return is_fused(attention) and bool(module.activation_relu_or_gelu) and norms[0].eps == norms[1].eps
    return (
        type(module) is nn.MultiheadAttention
        and module.batch_first
        and module._qkv_same_embed_dim
        and module.in_proj_bias is not None
        and module.bias_k is None
        and not module.add_zero_attn
        and module.num_heads % 2 == 0
    )


def _all_paths(module: nn.Module) -> Iterator[nn.Module]:
    """A module and all modules in it. A shared module occurs once for each of its parents."""
    yield module
    for child in module.children():
        yield from _all_paths(child)


def _torch_class(module: nn.Module) -> tuple[str, bool]:
    """The nearest class of torch.nn in the module's bases, and whether it is the module's own class."""
    own = type(module)
    found = next(base for base in own.__mro__ if base.__module__.startswith("torch.nn.modules"))
    return found.__name__, found is own


def _splits_parameter(node: fx.Node, trained: dict[str, str]) -> bool:
    """Whether a call splits a parameter. MultiheadAttention splits its projection only for cross-attention."""
    splits = node.op == "call_function" and target_name(node.target).startswith(("split", "chunk"))
    return splits and isinstance(node.args[0], fx.Node) and node.args[0].name in trained
