"""The reader of a torch checkpoint's pickle. It returns plain data and inert records and runs no code of the file.

Sources: `torch/serialization.py` and `torch/_utils.py` (names and argument order of the `_rebuild_*` functions) and
Python's `pickletools`.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable

from effscope.checkpoint.pickled.policy import check_global, check_pickle, shown
from effscope.checkpoint.pickled.records import (
    Budget,
    DtypeName,
    OrderedItems,
    Record,
    SafeFunction,
    StorageRef,
    TensorRecord,
    record_class,
)
from effscope.errors import EffscopeError

MAX_CALL_UNITS = 20_000_000
SCALAR_TYPES = (str, int, float, bytes, type(None))

STORAGE_DTYPES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    "torch.ComplexFloatStorage": "complex64",
    "torch.ComplexDoubleStorage": "complex128",
    "torch.UntypedStorage": "uint8",
    "torch.storage.UntypedStorage": "uint8",
}

DTYPE_BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
}

NUMPY_FORMATS = {
    "f8": "d",
    "f4": "f",
    "f2": "e",
    "i8": "q",
    "i4": "i",
    "i2": "h",
    "i1": "b",
    "u8": "Q",
    "u4": "I",
    "u2": "H",
    "u1": "B",
    "b1": "?",
}


def load_records(raw: bytes, unpickler: type[RecordUnpickler] | None = None) -> object:
    """Read a pickle into plain data, `Record`s and `TensorRecord`s. No function that it names is run.

    Args:
        raw: The bytes of `data.pkl` in a torch archive.
        unpickler: The class that reads it; None means `RecordUnpickler`.

    Returns:
        The root value: in checkpoints a dict or a Record.

    Raises:
        EffscopeError: It is damaged, or refused by `policy`.
    """
    try:
        check_pickle(raw)
        return (unpickler or RecordUnpickler)(raw).load()
    except (EffscopeError, MemoryError):
        raise
    except RecursionError as error:
        raise EffscopeError("its pickle is nested too deeply for a checkpoint: re-save only the state dict") from error
    except Exception as error:  # a damaged pickle may raise any error (Python's documentation)
        raise EffscopeError(f"its pickle is damaged ({type(error).__name__}): download or save it again") from error


class RecordUnpickler(pickle.Unpickler):
    """Python's unpickler without access to any class or function outside this package."""

    def __init__(self, raw: bytes) -> None:
        """Read `raw`. Call `check_pickle` on it first."""
        super().__init__(io.BytesIO(raw), encoding="utf-8")
        self._budget = Budget(MAX_CALL_UNITS)
        self._known: dict[str, object] = {}

    def find_class(self, module: str, name: str, /) -> object:
        """An inert object for a name. Nothing is imported.

        Raises:
            EffscopeError: The name makes or runs code.
        """
        full = check_global(module, name)
        if full not in self._known:
            self._known[full] = self._inert(full)
        return self._known[full]

    def _inert(self, full: str) -> object:
        if full in REBUILDERS:
            return SafeFunction(REBUILDERS[full], self._budget)
        if full in STORAGE_DTYPES:
            return DtypeName(STORAGE_DTYPES[full])
        if full.startswith("torch.") and full.removeprefix("torch.") in DTYPE_BYTES:
            return DtypeName(full.removeprefix("torch."))
        return record_class(full)

    def persistent_load(self, pid: object, /) -> StorageRef:
        """The reference for torch's tuple ("storage", type, key, location, n_elements).

        Raises:
            EffscopeError: It has another form.
        """
        match pid:
            case ("storage", DtypeName(name=dtype), str(key), _, int(n_elements)) if n_elements >= 0:
                return StorageRef(key, dtype, n_elements)
            case ("storage", type() as kind, *_) if issubclass(kind, Record):
                raise EffscopeError(
                    f"its tensors are stored as {shown(kind.class_name)}, which is not supported: "
                    "re-save the state dict with float or integer tensors"
                )
        raise EffscopeError("its pickle refers to data in an unknown way: save it again with torch.save")


def _is_shape(value: object) -> bool:
    return isinstance(value, tuple) and all(type(part) is int for part in value)


def _tensor(
    storage: StorageRef, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> TensorRecord:
    """`torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`."""
    if not (isinstance(storage, StorageRef) and type(offset) is int):
        raise EffscopeError("a tensor without storage or offset: save it again with torch.save")
    if not (_is_shape(size) and _is_shape(stride)):
        raise EffscopeError("the shape of a tensor is not made of integers: save it again with torch.save")
    return TensorRecord(storage, storage.dtype, offset, size, stride)


def _tensor_v3(
    storage: StorageRef,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    _grad: object,
    _hooks: object,
    dtype: DtypeName,
    *_: object,
) -> TensorRecord:
    """`torch._utils._rebuild_tensor_v3`: an untyped storage and the element type."""
    plain = _tensor(storage, offset, size, stride)
    if not isinstance(dtype, DtypeName):
        raise EffscopeError("a tensor of an unknown element type: re-save it as float32")
    n_bytes = storage.n_elements * DTYPE_BYTES[storage.dtype]
    ref = StorageRef(storage.key, dtype.name, n_bytes // DTYPE_BYTES[dtype.name])
    return TensorRecord(ref, dtype.name, offset, plain.size, plain.stride)


def _parameter(data: object, *_: object) -> object:
    """`torch._utils._rebuild_parameter` and `_rebuild_parameter_with_state`."""
    return data


def _from_type(function: SafeFunction, _type: object, args: tuple[object, ...], _state: object) -> object:
    """`torch._tensor._rebuild_from_type_v2`: a tensor with attributes. The attributes are dropped."""
    if not (isinstance(function, SafeFunction) and isinstance(args, tuple)) or function.function is _from_type:
        raise EffscopeError("a tensor rebuilt in an unknown way: re-save only the state dict")
    return function(*args)


def _shape(parts: tuple[int, ...] = ()) -> tuple[int, ...]:
    """`torch.Size`."""
    if not (isinstance(parts, tuple | list) and _is_shape(tuple(parts))):
        raise EffscopeError("a torch.Size that is not made of integers: save it again with torch.save")
    return tuple(parts)


def _ordered(pairs: object = ()) -> OrderedItems:
    """`collections.OrderedDict`, empty or from pairs. Keys must be simple values."""
    items = OrderedItems()
    entries = pairs.items() if isinstance(pairs, dict) else pairs
    for key, value in entries:  # type: ignore[attr-defined]
        _check_member(key)
        items[key] = value
    return items


def _check_member(member: object) -> None:
    if not isinstance(member, SCALAR_TYPES):
        raise EffscopeError("a set or key of nested values in the pickle: re-save only the state dict")


def _set(members: object = ()) -> set[object]:
    """`set`. Members must be simple values."""
    if not isinstance(members, list | tuple | set | frozenset):
        raise EffscopeError("a set that is not made from a list: re-save only the state dict")
    for member in members:
        _check_member(member)
    return set(members)


def _frozenset(members: object = ()) -> frozenset[object]:
    """`frozenset`. Members must be simple values."""
    return frozenset(_set(members))


def _bytes(text: str, encoding: str = "latin1") -> bytes:
    """`_codecs.encode`: the form of bytes in protocol 2."""
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise EffscopeError("bytes in an unknown encoding in the pickle: save it again with torch.save")
    return text.encode("latin1")


def _numpy_scalar(dtype: Record, data: object = b"") -> object:
    """`numpy.core.multiarray.scalar`: a Python number, or a record for other types."""
    code = dtype.args[0] if isinstance(dtype, Record) and dtype.args else ""
    if not (isinstance(code, str) and code in NUMPY_FORMATS and isinstance(data, bytes)):
        return record_class("numpy.scalar")(dtype, data)
    state = dtype.state
    order = ">" if isinstance(state, tuple) and state[1:2] == (">",) else "<"
    return struct.unpack(order + NUMPY_FORMATS[code], data)[0]


REBUILDERS: dict[str, Callable[..., object]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": _shape,
    "collections.OrderedDict": _ordered,
    "builtins.set": _set,
    "__builtin__.set": _set,
    "builtins.frozenset": _frozenset,
    "__builtin__.frozenset": _frozenset,
    "_codecs.encode": _bytes,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}
