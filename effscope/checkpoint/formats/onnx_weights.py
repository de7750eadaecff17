"""Weights of an ONNX graph: initialisers by module name, quantised ones as float32; and the calls of its layers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from effscope.checkpoint.layer_calls import NORM, LayerCall

MATRIX = 2

NAMED = re.compile(r"([\w.]+)\.(weight|bias|running_mean|running_var)")
SUFFIX = re.compile(r"(_quantized|_DequantizeLinear_Output|_dequantized)$")

OWNERS: dict[str, tuple[str, ...]] = {
    "Conv": ("", "weight", "bias"),
    "ConvTranspose": ("", "weight", "bias"),
    "Gemm": ("", "weight", "bias"),
    "MatMul": ("", "weight"),
    "BatchNormalization": ("", "weight", "bias", "running_mean", "running_var"),
    "LayerNormalization": ("", "weight", "bias"),
    "QLinearConv": ("", "", "", "weight", "", "", "", "", "bias"),
    "ConvInteger": ("", "weight"),
}
"""Operation -> role of each of its inputs, "" for inputs that are not weights."""


NO_WEIGHTS: Mapping[str, frozenset[int]] = {
    **dict.fromkeys(("Resize", "Upsample", "QuantizeLinear", "DequantizeLinear", "QLinearConv"), frozenset(range(9))),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), frozenset({0, 4, 5, 6})),
}
"""Operation -> positions of inputs that are no weights, though they may be several constant floats: scales of maps and
of integers, lengths and first states of sequences."""


CLASSES = {
    **dict.fromkeys(("Conv", "QLinearConv", "ConvInteger"), "Conv2d"), "ConvTranspose": "ConvTranspose2d",
    **dict.fromkeys(("Gemm", "MatMul"), "Linear"), "BatchNormalization": NORM,
}  # fmt: skip
"""Operation -> class of torch that it comes from."""

EPSILON = 1e-5
"""Default of BatchNormalization."""


@dataclass(frozen=True)
class GraphWeights:
    """The weights of an ONNX graph.

    Attributes:
        state: those of known layers, in graph order, by module name.
        calls: calls of its convolutions, linear layers and batch norms.
        readers: value -> how many times it is read, as an output too.
        others: further initialisers that are weights, by their names in the graph: biases that a sum adds, slopes,
            position tables, recurrent weights.
        note: what was converted and left out.
    """

    state: dict[str, Tensor]
    calls: tuple[LayerCall, ...]
    readers: Mapping[str, int]
    others: dict[str, Tensor]
    note: str


def graph_weights(
    nodes: Sequence[Any], arrays: Mapping[str, Any], initialisers: frozenset[str], outputs: Iterable[str]
) -> GraphWeights:
    """The weights of a graph.

    Args:
        nodes: its nodes, also those of graphs inside nodes.
        arrays: initialisers and constants by name.
        initialisers: names of the initialisers.
        outputs: names of its outputs.
    """
    found = _Found(arrays)
    n_quantised = 0
    for node in nodes:
        if node.op_type == "DequantizeLinear" and node.input[0] in arrays and node.input[1] in arrays:
            found.dequantise(node)
            n_quantised += 1
            found.used.update(node.input)
        elif node.op_type in MOVES and node.input and node.input[0] in found.floats:
            found.move(node)
        found.read(node)
    others = _others(nodes, arrays, initialisers - found.used)
    left = sum(name not in found.used and name not in others for name in arrays)
    notes = [f"{n_quantised} quantised tensors converted to float32"] if n_quantised else []
    notes += [f"{left} constants left out"] if left else []
    readers = Counter([*(name for node in nodes for name in node.input), *outputs])
    return GraphWeights(found.state, tuple(found.calls), readers, others, ", ".join(notes))


class _Found:
    """Weights and calls, node by node.

    Attributes:
        floats: constant values by name, also those that views of constants make.
        used: names of the initialisers in `state`.
    """

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.arrays, self.floats = arrays, dict(arrays)
        self.state: dict[str, Tensor] = {}
        self.calls: list[LayerCall] = []
        self.used: set[str] = set()
        self._origin: dict[str, str] = {}
        self._owner: dict[str, str] = {}
        self._dequantised: dict[tuple[Any, ...], Any] = {}
        self._tensors: dict[tuple[Any, ...], Tensor] = {}

    def dequantise(self, node: Any) -> None:
        """The value of a DequantizeLinear node; equal ones share it."""
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        key = (*node.input, axis)
        if key not in self._dequantised:
            self._dequantised[key] = _dequantised(self.arrays, node)
        self.floats[node.output[0]] = self._dequantised[key]

    def move(self, node: Any) -> None:
        """The value of a node that only moves the values of a constant; nothing if it cannot be computed here."""
        given = {attribute.name: attribute for attribute in node.attribute}
        value, shape = self.floats[node.input[0]], self.arrays.get(node.input[1]) if len(node.input) > 1 else None
        try:
            self.floats[node.output[0]] = MOVES[node.op_type](value, given, shape)
        except (ValueError, TypeError, AttributeError):  # axes or shapes that do not fit
            return
        self._origin[node.output[0]] = self._origin.get(node.input[0], node.input[0])

    def read(self, node: Any) -> None:
        """The weights that a node owns."""
        if "Conv" in CLASSES.get(node.op_type, "") and not _weights_of(node) & self.floats.keys():
            source, out = node.input[0], node.output[0]
            self.calls.append(LayerCall(_path(node.name), CLASSES[node.op_type], source, out, computed=True))
        for name, role in zip(node.input, OWNERS.get(node.op_type, ()), strict=False):
            if not role or name not in self.floats:
                continue
            key = self._free(_key(name, node, role), self._origin.get(name, name), node, role)
            if key not in self.state:
                same = (name, role, node.op_type, str(node.attribute) if role == "weight" else "")
                if same not in self._tensors:
                    self._tensors[same] = _tensor(self.floats[name], self.arrays, node, role)
                self.state[key] = self._tensors[same]
            if role in ("weight", "running_mean") and node.op_type in CLASSES:
                self.calls.extend(_call(node, key, role))
            self.used.add(self._origin.get(name, name))

    def _free(self, key: str, origin: str, node: Any, role: str) -> str:
        """The key, or one with the name of the node if another initialiser has it: a module may own several."""
        own = f"{'.'.join(filter(None, node.name.split('/'))) or node.output[0]}.{role}"
        for one in (key, own, f"{origin}.{role}"):
            if self._owner.setdefault(one, origin) == origin:
                return one
        return f"{node.output[0]}.{role}"


def _transposed(value: Any, given: Mapping[str, Any], _: Any) -> Any:
    return np.transpose(value, list(given["perm"].ints) if "perm" in given else None)


def _reshaped(value: Any, _: Mapping[str, Any], shape: Any) -> Any:
    sides = [value.shape[n] if side == 0 else int(side) for n, side in enumerate(np.ravel(shape))]
    return np.reshape(value, sides)


MOVES: dict[str, Callable[[Any, Mapping[str, Any], Any], Any]] = {
    "Identity": lambda value, given, _: value,
    "Cast": lambda value, given, _: value,
    "Transpose": _transposed,
    "Reshape": _reshaped,
}
"""Operation that moves values -> its result for a constant, from (value, attributes, second input)."""


def _weights_of(node: Any) -> set[str]:
    """Name of the weight of a convolution."""
    roles = OWNERS.get(node.op_type, ())
    return {name for name, role in zip(node.input, roles, strict=False) if role == "weight"}


def _tensor(value: Any, arrays: Mapping[str, Any], node: Any, role: str) -> Tensor:
    if role == "weight":
        value = _integer_conv(arrays, node) if node.op_type == "QLinearConv" else _oriented(value, node)
    return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))


def _call(node: Any, key: str, role: str) -> list[LayerCall]:
    """The call of a layer: of a norm at its mean, of any other one at its weight."""
    class_name = CLASSES[node.op_type]
    if (class_name == NORM) != (role == "running_mean"):
        return []
    given = {attribute.name: attribute for attribute in node.attribute}
    groups = given["group"].i if "group" in given else 1
    eps = given["epsilon"].f if "epsilon" in given else EPSILON
    path, source = key.rpartition(".")[0], node.input[0]
    return [LayerCall(path, class_name, source, node.output[0], groups, eps)]


def _oriented(value: Any, node: Any) -> Any:
    """A weight with its outputs first, as in torch: a product has its inputs first."""
    turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    is_product = node.op_type == "MatMul" or (node.op_type == "Gemm" and not turned)
    return value.T if is_product and value.ndim == MATRIX else value


def _others(nodes: Any, arrays: Mapping[str, Any], unused: frozenset[str]) -> dict[str, Tensor]:
    """The unused initialisers that are weights: several floats that a node reads where weights may stand."""
    read = {
        name
        for node in nodes
        for position, name in enumerate(node.input)
        if position not in NO_WEIGHTS.get(node.op_type, ())
    }
    found = {name: arrays[name] for name in arrays if name in unused & read}
    return {
        name: torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
        for name, value in found.items()
        if np.issubdtype(value.dtype, np.floating) and value.size > 1
    }


def _dequantised(arrays: Mapping[str, Any], node: Any) -> Any:
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    zero = arrays.get(node.input[2]) if len(node.input) > 2 else None  # noqa: PLR2004
    return _to_float(arrays[node.input[0]], arrays[node.input[1]], zero, axis)


def _integer_conv(arrays: Mapping[str, Any], node: Any) -> Any:
    """The weight of a QLinearConv as float32. Its scale is per output channel."""
    _, _, _, weight, scale, zero = node.input[:6]
    return _to_float(arrays[weight], arrays[scale], arrays.get(zero), 0)


def _to_float(values: Any, scale: Any, zero: Any, axis: int) -> Any:
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis % values.ndim] = scale.size
    shift = 0 if zero is None else np.reshape(np.asarray(zero, np.float64), shape if zero.size > 1 else -1)
    return ((values.astype(np.float64) - shift) * np.reshape(scale.astype(np.float64), shape)).astype(np.float32)


def _key(name: str, node: Any, role: str) -> str:
    """The state-dict key of an input of a node: the module in the name of the node's weight, else in the name of the
    tensor, else in the path of the node.

    The weight comes first because exporters merge equal tensors: a bias may have the name of another module's bias.
    """
    roles = OWNERS[node.op_type]
    weight = node.input[roles.index("weight")] if "weight" in roles else name
    for given in (weight, name):
        found = NAMED.fullmatch(SUFFIX.sub("", given))
        if found:
            return f"{found.group(1)}.{role}"
    path = _path(node.name)
    return f"{path or node.name or node.output[0]}.{role}"


def _path(name: str) -> str:
    """Module path in the name of a node: `layer1.0.conv1` for `/layer1/layer1.0/conv1/Conv`."""
    parts: list[str] = []
    for part in filter(None, name.split("/")[:-1]):
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    return ".".join(parts)
