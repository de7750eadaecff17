"""Weights of an ONNX graph: initialisers by module name, quantised ones as float32."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from effscope.checkpoint.pickled.module_tree import ModuleRecord
from effscope.errors import EffscopeError

MATRIX = 2

MOST_PER_BYTE = 2
"""Maximum number of values in one byte: int4 is the smallest type."""

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


@dataclass(frozen=True)
class GraphWeights:
    """The weights of an ONNX graph.

    Attributes:
        state: those of known layers, in graph order, by module name.
        convolutions: its convolutions, with their groups.
        others: further initialisers that are weights, by their names in the graph: biases that a sum adds, slopes,
            position tables, recurrent weights.
        note: what was converted and left out.
    """

    state: dict[str, Tensor]
    convolutions: tuple[ModuleRecord, ...]
    others: dict[str, Tensor]
    note: str


def read_onnx(path: Path) -> GraphWeights:
    """The weights of an ONNX file.

    Quantised weights become float32: (integer - zero point) * scale, per tensor or per channel. Initialisers without a
    module name get the name of the node that uses them (`/model.0/conv/Conv` -> `model.0.conv.weight`).

    Raises:
        EffscopeError: the file is damaged or not ONNX, or its weights are in other files that cannot be read.
    """
    import onnx  # noqa: PLC0415 - slow import
    from onnx import numpy_helper  # noqa: PLC0415

    data = path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own DecodeError, UnicodeDecodeError, RecursionError
        raise EffscopeError("it is not an ONNX model, or a damaged one: export it again") from error
    if not model.graph.node:
        raise EffscopeError("it is not an ONNX model, or an empty one: export it again")
    n_bytes = len(data) + _load_external(model, path)
    arrays: dict[str, Any] = {}
    for proto in model.graph.initializer:
        n_values = int(np.prod(proto.dims, dtype=object)) if proto.dims else 1
        if n_values > n_bytes * MOST_PER_BYTE:
            raise EffscopeError(f"the initialiser '{proto.name[:60]}' claims more numbers than the file has")
        try:
            arrays[proto.name] = np.array(numpy_helper.to_array(proto))
        except Exception as error:  # wrong sizes and unknown types raise ValueError, KeyError, TypeError, ...
            raise EffscopeError(f"the initialiser '{proto.name[:60]}' is damaged: export it again") from error
    for node in model.graph.node:  # a Constant node is another form of an initialiser
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.HasField("t"):
                    arrays[node.output[0]] = np.array(numpy_helper.to_array(attribute.t))
    named = frozenset(proto.name for proto in model.graph.initializer)
    return _named(model.graph.node, arrays, named)


def _load_external(model: Any, path: Path) -> int:
    """Read the numbers that stand in files beside the graph, and return the bytes of these files.

    Raises:
        EffscopeError: a file is missing, is not in the folder of the graph or below it, or is too short.
    """
    import onnx  # noqa: PLC0415 - slow import
    from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model  # noqa: PLC0415

    external = [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    if not external:
        return 0
    found = [ExternalDataInfo(tensor) for tensor in external]
    names = sorted({one.location for one in found})
    said = f"the numbers of {len(external)} tensors are in other files ({', '.join(names)[:80]})"
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in names):
        raise EffscopeError(f"{said} outside its folder: do not use it, or save the model as one file")
    try:
        sizes = {name: (path.parent / name).stat().st_size for name in names}
        claimed = sum(one.length or sizes[one.location] for one in found)
        if claimed > sum(sizes.values()):
            raise EffscopeError(f"{said}, which have {sum(sizes.values())} bytes, not {claimed}: export it again")
        load_external_data_for_model(model, str(path.parent))
    except EffscopeError:
        raise
    except Exception as error:  # a missing or short file, onnx's checks of links and paths
        raise EffscopeError(f"{said}: put them beside it, or save the model as one file") from error
    return sum(sizes.values())


CLASSES = {
    "Conv": "Conv2d", "QLinearConv": "Conv2d", "ConvInteger": "Conv2d", "ConvTranspose": "ConvTranspose2d",
}  # fmt: skip
"""Operation -> class of torch that it comes from."""


def _record(node: Any, key: str) -> ModuleRecord:
    """A convolution as a module of the key of its weight."""
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return ModuleRecord(key.rpartition(".")[0], CLASSES[node.op_type], {"groups": groups})


def _named(nodes: Any, arrays: Mapping[str, Any], initialisers: frozenset[str]) -> GraphWeights:
    floats, n_quantised = dict(arrays), 0
    state: dict[str, Tensor] = {}
    used: set[str] = set()
    records: dict[str, ModuleRecord] = {}
    for node in nodes:
        if node.op_type == "DequantizeLinear" and node.input[0] in arrays and node.input[1] in arrays:
            floats[node.output[0]] = _dequantised(arrays, node)
            n_quantised += 1
            used.update(node.input)
        elif node.op_type == "Identity" and node.input[0] in floats:
            floats[node.output[0]] = floats[node.input[0]]
        for name, role in zip(node.input, OWNERS.get(node.op_type, ()), strict=False):
            if role and name in floats:
                value = _oriented(floats[name], node) if role == "weight" else floats[name]
                if node.op_type == "QLinearConv" and role == "weight":
                    value = _integer_conv(arrays, node)
                key = _key(name, node, role)
                if role == "weight" and node.op_type in CLASSES:
                    records.setdefault(key, _record(node, key))
                if key not in state:
                    state[key] = torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
                used.add(name)
    others = _others(nodes, arrays, initialisers - used)
    left = sum(name not in used and name not in others for name in arrays)
    notes = [f"{n_quantised} quantised tensors converted to float32"] if n_quantised else []
    notes += [f"{left} constants left out"] if left else []
    return GraphWeights(state, tuple(records.values()), others, ", ".join(notes))


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
    path = ".".join(part for part in node.name.split("/")[:-1] if part)
    return f"{path or node.name or node.output[0]}.{role}"
