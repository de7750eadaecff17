"""The call of a torch module that a traced operation came from: what other counters go by."""

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
        self.module = module
        self.ways = Counter(id(part) for part in _walked(module))
        trained = program.graph_signature.inputs_to_parameters
        self.crossed = {module_of(n) for n in program.graph_module.graph.nodes if _divides(n, trained)}
        self.known: dict[str, Source] = {}

    def of(self, path: str, target: str) -> Source:
        """The source of a call of an overload by the module at a path."""
        if path not in self.known:
            names = path.split(".") if path else []
            around = [self.module.get_submodule(".".join(names[:n])) for n in range(len(names) + 1)]
            caller = around[-1]
            fused = path not in self.crossed and any(map(is_fused, around))
            self.known[path] = Source("", *_torch_class(caller), self.ways[id(caller)], fused)
        return replace(self.known[path], target=target)


def module_of(node: fx.Node) -> str:
    """Path of the module whose forward made a call, "" for the outermost."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]).removeprefix("L['self'].").removeprefix("L['self']") if stack else ""


def is_fused(module: nn.Module) -> bool:
    """Whether torch takes its fast path for a module of self-attention, in eval mode and without gradients: one fused
    kernel, nothing inside of which is seen from outside.

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


def _walked(module: nn.Module) -> Iterator[nn.Module]:
    """A module and all in it, once for every parent they have: as hooks are hung up."""
    yield module
    for child in module.children():
        yield from _walked(child)


def _torch_class(module: nn.Module) -> tuple[str, bool]:
    """The class of torch.nn a module is of or derives from, and whether it is of that class itself."""
    kind = type(module)
    found = next(base for base in kind.__mro__ if base.__module__.startswith("torch.nn.modules"))
    return found.__name__, found is kind


def _divides(node: fx.Node, trained: dict[str, str]) -> bool:
    """Whether a call divides a parameter: attention does that with its projections where it is not of itself."""
    divides = node.op == "call_function" and target_name(node.target).startswith(("split", "chunk"))
    return divides and isinstance(node.args[0], fx.Node) and node.args[0].name in trained
