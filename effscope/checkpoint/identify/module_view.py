"""A module of a pickled model: its attributes, tensors and children, read without its class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from effscope.checkpoint.pickled.module_tree import ModuleRecord
from effscope.errors import EffscopeError

ACTIVATIONS = {
    "SiLU": "silu", "ReLU": "relu", "ReLU6": "relu6", "LeakyReLU": "leaky_relu", "Hardswish": "hardswish",
    "Hardsigmoid": "hardsigmoid", "Sigmoid": "sigmoid", "GELU": "gelu", "Tanh": "tanh", "Mish": "mish",
}  # fmt: skip
"""Class in torch -> primitive."""

NO_OPS = frozenset({"Identity", "Dropout", "Dropout2d"})
"""Classes that do nothing at inference."""


class ModuleView:
    """A module and the modules in it. Sub-paths are relative to it; "" is the module itself.

    Attributes:
        path: its module path.
        activation: the activation of most conv units of the model.
    """

    def __init__(
        self, path: str, records: Mapping[str, ModuleRecord], state: Mapping[str, Tensor], activation: str
    ) -> None:
        self.path, self.activation = path, activation
        self._records, self._state = records, state

    def at(self, sub: str) -> ModuleView:
        """A view of the module at the sub-path."""
        return ModuleView(self._full(sub), self._records, self._state, self.activation)

    def tensor(self, sub: str) -> Tensor | None:
        """The parameter or buffer at the sub-path, or None."""
        return self._state.get(self._full(sub))

    def _full(self, sub: str) -> str:
        return f"{self.path}.{sub}" if sub else self.path

    def has(self, sub: str) -> bool:
        """Whether there is a module at the sub-path."""
        return self._full(sub) in self._records

    def kind(self, sub: str = "") -> str:
        """Class name of the module without its package, "" if there is no module."""
        record = self._records.get(self._full(sub))
        return record.class_name.rpartition(".")[2] if record else ""

    def scalar(self, name: str, sub: str = "", default: Any = None) -> Any:
        """An attribute of the module at the sub-path, if it is a number, string or list of them; else the default."""
        record = self._records.get(self._full(sub))
        return record.scalars.get(name, default) if record else default

    def count(self, sub: str) -> int:
        """Number of numbered children of the module at the sub-path."""
        pattern = re.compile(re.escape(self._full(sub)) + r"\.\d+")
        return sum(bool(pattern.fullmatch(path)) for path in self._records)

    def conv(self, sub: str = "") -> Mapping[str, Any]:
        """Attributes of the convolution at the sub-path, or of the one in the conv unit there.

        Raises:
            EffscopeError: there is none.
        """
        for name in (sub, f"{sub}.conv".lstrip("."), f"{sub}.c".lstrip(".")):
            if self.kind(name) in ("Conv2d", "ConvTranspose2d"):
                return self._records[self._full(name)].scalars
        raise EffscopeError(f"{self._full(sub)} ({self.kind(sub) or 'nothing'}) holds no convolution")

    def c_out(self, sub: str) -> int:
        """Output channels of the convolution at the sub-path."""
        return int(self.conv(sub)["out_channels"])

    def k(self, sub: str = "") -> int:
        """Kernel side of the convolution at the sub-path."""
        return int(self.conv(sub)["kernel_size"][0])

    def s(self, sub: str = "") -> int:
        """Stride of the convolution at the sub-path."""
        return int(self.conv(sub)["stride"][0])

    def leaves(self) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
        """The modules without children, in the order of the file: sub-path, class name, attributes."""
        prefix = f"{self.path}."
        own = [p for p in self._records if p == self.path or p.startswith(prefix)]
        for path in own:
            if not any(other.startswith(f"{path}.") for other in own):
                record = self._records[path]
                yield path.removeprefix(self.path).lstrip("."), record.class_name.rpartition(".")[2], record.scalars


def common_activation(records: Mapping[str, ModuleRecord]) -> str:
    """The activation of most conv units of a model, as a primitive; "silu" if there is none."""
    layers = [p for p in records if re.fullmatch(r"model\.\d+\.act", p)]
    of = layers or [p for p in records if p.endswith(".act")]
    kinds = Counter(records[path].class_name.rpartition(".")[2] for path in of)
    named = [ACTIVATIONS[kind] for kind, _ in kinds.most_common() if kind in ACTIVATIONS]
    return named[0] if named else "silu"


def chain_links(module: ModuleView) -> tuple[tuple[tuple[Any, ...], ...], bool]:
    """The layers in a module as links of a `Chain`, and whether the module adds its input.

    Raises:
        EffscopeError: a layer cannot be a link, or a convolution does not fit the one before it.
    """
    links: list[tuple[Any, ...]] = []
    c: int | None = None
    for path, kind, a in module.leaves():
        if kind == "Conv2d" and a.get("padding_mode") == "zeros" and isinstance(a.get("padding"), tuple):
            if c is not None and a["in_channels"] != c:
                raise EffscopeError(f"{module.path}.{path} takes {a['in_channels']} channels, not {c}: no chain")
            c = int(a["out_channels"])
            sides = (a["kernel_size"], a["stride"], a["padding"], a["dilation"], a["groups"])
            links.append(("conv2d", path, c, *sides, module.tensor(f"{path}.bias") is not None))
        elif kind == "BatchNorm2d" and (c is None or a["num_features"] == c):
            links.append(("batchnorm", path, a["eps"], a["momentum"]))
        elif kind == "MaxPool2d" and isinstance(a.get("kernel_size"), int):
            links.append(("maxpool", path, a["kernel_size"], a["stride"], a["padding"]))
        elif kind in ACTIVATIONS:
            links.append((ACTIVATIONS[kind], path))
        elif kind not in NO_OPS:
            raise EffscopeError(f"{module.path}.{path} is a {kind}: how {module.kind()} uses it is unknown")
    return tuple(links), any(module.scalar(name) is True for name in RESIDUAL_FLAGS)


RESIDUAL_FLAGS = ("residual", "add", "shortcut", "use_res_connect", "use_residual")
"""Attributes, by several authors, that are True if a block adds its input."""
