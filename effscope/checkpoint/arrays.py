"""Numpy arrays in a pickle, from their inert records. Numpy itself is not called."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from effscope.checkpoint.pickled.archive import MAX_DIMS, MAX_EXTENT
from effscope.checkpoint.pickled.policy import shown
from effscope.checkpoint.pickled.records import Record
from effscope.errors import EffscopeError

DTYPES = {
    "f8": torch.float64,
    "f4": torch.float32,
    "f2": torch.float16,
    "i8": torch.int64,
    "i4": torch.int32,
    "i2": torch.int16,
    "i1": torch.int8,
    "u8": torch.uint64,
    "u4": torch.uint32,
    "u2": torch.uint16,
    "u1": torch.uint8,
    "b1": torch.bool,
}
"""Numpy's code of an element type -> that of torch."""

REBUILT = frozenset(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core"))
"""The function for arrays in protocols below 5. Its state is (version, shape, dtype, by columns, bytes)."""

BUFFERS = frozenset(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core"))
"""The function for arrays in protocol 5, of (bytes, dtype, shape, order)."""

NO_BYTES = frozenset({"builtins.bytes", "__builtin__.bytes"})
"""How protocol 2 writes bytes of no length: a call without arguments."""

RESAVE = "re-save it with {key: torch.from_numpy(array) for key, array in state.items()}"


@dataclass(frozen=True, eq=False)
class ArrayRecord:
    """A numpy array as described in the pickle; not checked, see `array_tensor`.

    Attributes:
        size: Shape.
        code: Numpy's code of the element type, e.g. "f4"; "" if it is not plain.
        order: Order of the bytes of an element: "<", ">" or "|".
        by_columns: Whether the first dimension varies fastest.
        data: The elements; None if they are not bytes.
    """

    size: tuple[int, ...]
    code: str
    order: str
    by_columns: bool
    data: bytes | bytearray | None


def array_record(value: object) -> ArrayRecord | None:
    """The array that a record stands for; None for any other value."""
    if not isinstance(value, Record):
        return None
    if value.class_name in REBUILT and isinstance(value.state, tuple):
        match value.state:
            case (int(), tuple() as size, Record() as dtype, bool(by_columns), data):
                return _record(size, dtype, by_columns, data)
    if value.class_name in BUFFERS:
        match value.args:
            case (data, Record() as dtype, tuple() as size, str(order)):
                return _record(size, dtype, order == "F", data)
    return None


def _record(size: tuple[object, ...], dtype: Record, by_columns: bool, data: object) -> ArrayRecord | None:
    sides = tuple(side for side in size if type(side) is int)
    if len(sides) != len(size):
        return None
    code = dtype.args[0] if dtype.class_name == "numpy.dtype" and dtype.args else ""
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else "|"
    if isinstance(data, Record) and data.class_name in NO_BYTES and not data.args:
        data = b""
    return ArrayRecord(
        sides,
        code if isinstance(code, str) else "",
        order if isinstance(order, str) else "",
        by_columns,
        data if isinstance(data, bytes | bytearray) else None,
    )


def array_tensor(array: ArrayRecord) -> torch.Tensor:
    """A tensor of the array's elements, shape and element type.

    Raises:
        EffscopeError: Its element type is not one of torch, or its bytes are not those of its shape.
    """
    dtype = DTYPES.get(array.code)
    if dtype is None or array.data is None or array.order not in ("<", ">", "|"):
        raise EffscopeError(f"its values are numpy arrays, one of the type {shown(array.code or '?')}: {RESAVE}")
    if len(array.size) > MAX_DIMS or not all(0 <= side <= MAX_EXTENT for side in array.size):
        raise EffscopeError("a numpy array has an impossible shape: download or save it again")
    n_elements = math.prod(array.size)
    if math.prod(max(side, 1) for side in array.size) > MAX_EXTENT or n_elements * dtype.itemsize != len(array.data):
        raise EffscopeError(
            f"a numpy array of shape {array.size} and type {shown(array.code)} has {len(array.data)} bytes: "
            "the file is damaged, download or save it again"
        )
    if not n_elements:
        return torch.empty(array.size, dtype=dtype)
    raw = torch.frombuffer(bytearray(array.data), dtype=torch.uint8)
    if array.order == ">":
        raw = raw.reshape(n_elements, dtype.itemsize).flip(1).flatten()
    flat = raw.view(dtype)
    return (
        flat.reshape(array.size[::-1]).permute(*reversed(range(len(array.size))))
        if array.by_columns
        else (flat.reshape(array.size))
    )
