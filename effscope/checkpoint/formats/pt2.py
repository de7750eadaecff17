"""Weights of a `torch.export.save` archive (.pt2): raw numbers and a JSON table of their shapes. No code runs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from effscope.checkpoint.layer_calls import NORM, LayerCall
from effscope.checkpoint.pickled.archive import AGAIN, CheckedZip, check_extent
from effscope.checkpoint.pickled.policy import shown
from effscope.checkpoint.pickled.records import StorageRef, TensorRecord
from effscope.errors import EffscopeError

TABLE = "data/weights/model_weights_config.json"
PROGRAM = "models/model.json"
MAX_TABLE_BYTES = 16 * 2**20

DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 29: "float8_e4m3fn", 30: "float8_e5m2",
}  # fmt: skip
"""Number in the table -> dtype, as in the export schema of torch."""


class ExportArchive(CheckedZip):
    """An open .pt2 file."""

    def __init__(self, path: Path) -> None:
        """Open the archive; arguments and errors as in `CheckedZip`."""
        super().__init__(path)
        self._numbers: dict[str, bytearray] = {}

    def state(self) -> tuple[dict[str, Tensor], frozenset[str]]:
        """The exported module's parameters and buffers by state-dict key, and the keys of the buffers.

        Tied tensors share memory.

        Raises:
            EffscopeError: the table or a tensor is damaged, or a tensor is not stored as plain numbers.
        """
        info = self._entries[f"{self._folder}/{TABLE}"]
        if info.file_size > MAX_TABLE_BYTES:
            raise EffscopeError(
                f"its table of weights has {info.file_size} bytes, too many for a model: export it again"
            )
        try:
            rows = json.loads(self._read(info))["config"]
            tensors = {str(key): self._tensor(str(key), row) for key, row in rows.items()}
            return tensors, frozenset(str(key) for key, row in rows.items() if row.get("is_param") is False)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise EffscopeError(f"its table of weights is damaged: {AGAIN}") from error

    def calls(self) -> tuple[list[LayerCall], Counter[str]]:
        """The calls of layers in the exported program, and how many times each value is read: parameters and buffers
        by state-dict key. Empty if the archive has no such description, or one of another version."""
        info = self._entries.get(f"{self._folder}/{PROGRAM}")
        if info is None or info.file_size > MAX_TABLE_BYTES:
            return [], Counter()
        try:
            program = json.loads(self._read(info))["graph_module"]
            return _layer_calls(program)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
            return [], Counter()

    def _tensor(self, key: str, row: dict[str, Any]) -> Tensor:
        meta = row["tensor_meta"]
        if row.get("use_pickle") or meta["dtype"] not in DTYPES:
            raise EffscopeError(f"{shown(key)} is not stored as plain numbers: export it as a dense tensor")
        entry = self._entries.get(f"{self._folder}/data/weights/{row['path_name']}")
        if entry is None:
            raise EffscopeError(f"the numbers of {shown(key)} are missing: {AGAIN}")
        dtype: torch.dtype = getattr(torch, DTYPES[meta["dtype"]])
        if entry.filename not in self._numbers:
            self._numbers[entry.filename] = bytearray(self._read(entry))
        data = self._numbers[entry.filename]
        n = len(data) // dtype.itemsize
        size, stride = (tuple(int(part["as_int"]) for part in meta[name]) for name in ("sizes", "strides"))
        offset = int(meta["storage_offset"]["as_int"])
        check_extent(
            TensorRecord(StorageRef(key, DTYPES[meta["dtype"]], n), DTYPES[meta["dtype"]], offset, size, stride)
        )
        if not n or 0 in size:
            return torch.empty(size, dtype=dtype)
        return torch.frombuffer(data, dtype=dtype, count=n).as_strided(size, stride, offset)

    def _find_folder(self) -> str:
        found = [name.removesuffix(f"/{TABLE}") for name in self._entries if name.endswith(f"/{TABLE}")]
        if len(found) != 1:
            raise EffscopeError("it is a zip archive, but not by torch.export: give the weights file")
        return found[0]


LAYERS = re.compile(r"torch\.ops\.aten\.(conv(?P<turned>_transpose)?(?P<n>[123])d|linear|batch_norm)\.\w+")
"""Overloads of layers."""


def _layer_calls(program: dict[str, Any]) -> tuple[list[LayerCall], Counter[str]]:
    graph = program["graph"]
    keys: dict[str, str] = {}
    for spec in program["signature"]["input_specs"]:
        for kind in ("parameter", "buffer"):
            if kind in spec:
                keys[spec[kind]["arg"]["name"]] = spec[kind][f"{kind}_name"]
    readers = Counter(name for node in graph["nodes"] for each in node["inputs"] for name in _names(each["arg"]))
    readers.update(name for each in graph["outputs"] for name in _names(each))
    calls = []
    for node in graph["nodes"]:
        found = LAYERS.fullmatch(node["target"])
        if found is not None:
            call = _layer_call(found, node, keys)
            calls.extend([call] if call else [])
    return calls, Counter({keys.get(name, name): n for name, n in readers.items()})


def _layer_call(found: re.Match[str], node: dict[str, Any], keys: Mapping[str, str]) -> LayerCall | None:
    given = {each["name"]: each["arg"] for each in node["inputs"]}
    source, out = (next(_names(arg), "") for arg in (given["input"], node["outputs"][0]))
    if found[1] == "batch_norm":
        key = keys.get(next(_names(given["running_mean"]), ""), "")
        path = key.rpartition(".")[0]
        return LayerCall(path, NORM, source, out, eps=float(given["eps"]["as_float"])) if key else None
    class_name = f"Conv{'Transpose' if found['turned'] else ''}{found['n']}d" if found["n"] else "Linear"
    groups = int(given["groups"]["as_int"]) if "groups" in given else 1
    key = keys.get(next(_names(given["weight"]), ""), "")
    if key.rpartition(".")[2] == "weight":
        return LayerCall(key.rpartition(".")[0], class_name, source, out, groups)
    return None if key else LayerCall(_caller(node), class_name, source, out, groups, computed=True)


def _caller(node: dict[str, Any]) -> str:
    """Path of the module that makes a call."""
    stack = node.get("metadata", {}).get("nn_module_stack", "").split(";")[-1].split(",")
    return str(stack[1]) if len(stack) > 1 else ""


def _names(value: Any) -> Iterator[str]:
    """Names of the tensors in an argument."""
    if isinstance(value, dict):
        if isinstance(value.get("as_tensor"), dict):
            yield str(value["as_tensor"]["name"])
        for part in value.values():
            yield from _names(part)
    elif isinstance(value, list):
        for part in value:
            yield from ([str(part["name"])] if isinstance(part, dict) and set(part) == {"name"} else _names(part))


def is_export(path: Path) -> bool:
    """Whether a zip archive is by torch.export. Raises EffscopeError if it is damaged."""
    with AnyZip(path) as archive:
        return any(name.endswith(TABLE) for name in archive.names())


class AnyZip(CheckedZip):
    """An archive with any content."""

    def _find_folder(self) -> str:
        return ""

    def _check_byte_order(self) -> None:
        """Nothing to check: no tensor is read."""
