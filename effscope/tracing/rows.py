"""The table row that each module of a traced model belongs to."""

from __future__ import annotations

from torch import nn

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""Modules that only contain other modules."""


class Rows:
    """Module path -> row: the child of the model that contains the module; inside a container, the child of that.

    Attributes:
        found: row -> (name in tables, class), in the order of first use.
    """

    def __init__(self, module: nn.Module) -> None:
        self.found: dict[str, tuple[str, str]] = {}
        self._module = module
        self._total = sum(p.numel() for p in module.parameters())

    def of(self, path: str) -> str:
        """The row of the module at a path, as a module path; "" for the whole model."""
        names = path.split(".")
        end, in_container = 1, False
        while end < len(names):
            module = self._module.get_submodule(".".join(names[:end]))
            is_container = type(module) in CONTAINERS
            in_container = in_container or is_container
            if not is_container and (in_container or not self._is_body(module)):
                break
            end += 1
        row = ".".join(names[:end])
        if row not in self.found:
            self.found[row] = (row or "(top)", type(self._module.get_submodule(row)).__name__ if row else "")
        return row

    def _is_body(self, module: nn.Module) -> bool:
        """Whether a module has more than half of the parameters and contains a container."""
        holds = isinstance(module, CONTAINERS) or any(type(child) in CONTAINERS for child in module.children())
        return holds and 2 * sum(p.numel() for p in module.parameters()) > self._total
