"""The tensors that an exported program reads, by their keys in the module's state dict."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn


class StateKeys:
    """Placeholders of a program and the state-dict keys of their tensors.

    Attributes:
        of: placeholder name -> key, for parameters and buffers. Tied parameters use the first of their keys.
        first: key of a parameter -> the first key of the same parameter.
        trained: keys of parameters.
        parameters: placeholder nodes of parameters.
        buffers: placeholder nodes of buffers.
    """

    def __init__(self, module: nn.Module, program: torch.export.ExportedProgram) -> None:
        signature = program.graph_signature
        first: dict[int, str] = {}
        named = dict(module.named_parameters(remove_duplicate=False))
        for key, parameter in named.items():
            first.setdefault(id(parameter), key)
        self.first = {key: first[id(parameter)] for key, parameter in named.items()}
        self.trained = frozenset(self.first.values())
        trained = {name: self.first[key] for name, key in signature.inputs_to_parameters.items()}
        self.of = {**trained, **signature.inputs_to_buffers}
        placeholders = [n for n in program.graph_module.graph.nodes if n.op == "placeholder"]
        self.parameters = frozenset(n for n in placeholders if n.name in trained)
        self.buffers = frozenset(n for n in placeholders if n.name in signature.inputs_to_buffers)
        self._saved = frozenset(module.state_dict(keep_vars=True))
        self._buffer_values = dict(module.named_buffers(remove_duplicate=False))
        self._lifted = dict(getattr(signature, "inputs_to_lifted_tensor_constants", {}))
        self._lifted_values = program.constants

    def is_input(self, node: fx.Node) -> bool:
        """Whether a placeholder is the input of the module, not one of its tensors."""
        return node.name not in self.of and node.name not in self._lifted

    def is_constant(self, node: fx.Node) -> bool:
        """Whether a placeholder is a tensor that the forward pass creates; it has no key."""
        return node.name in self._lifted

    def unsaved(self, node: fx.Node) -> Tensor | None:
        """The value of a placeholder that is not in the state dict: a constant, or a buffer that is not saved."""
        if node.name in self._lifted:
            return self._lifted_values[self._lifted[node.name]]  # type: ignore[no-any-return]
        key = self.of[node.name]
        return None if key in self._saved else self._buffer_values[key]

    def is_saved(self, key: str) -> bool:
        """Whether the state dict has the key."""
        return key in self._saved
