"""Random damage of the fields of ONNX graphs."""

from __future__ import annotations

import random
from typing import Any

import onnx

TEXTS = (
    "", "x", "a", "b", "body.0.weight", "w", "whole", "scale", "Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv",
    "ConvInteger", "BatchNormalization", "DequantizeLinear", "Identity", "Constant", "LSTM", "Resize", "If", "Activate",
    "own", "a\nb", "../x", "/etc/passwd", "beside.data", "location", "offset", "length", "-1", "1e3", "9" * 30,
    "ö" * 300, ".", "/", "a/../b", "\x1b[31m", "axis", "group", "transB", "epsilon", "value", "9" * 5000,
)  # fmt: skip
NUMBERS = (0, 1, 2, 3, 5, 7, 9, 11, 16, 17, 22, 23, -1, 100, 2**20, 2**31 - 1, -(2**31), 2**40, 2**63 - 1, -(2**63))
FLOATS = (0.0, -1.0, 1e30, float("inf"), float("nan"))


def damaged_graph(data: bytes, rng: random.Random) -> bytes:
    """The graph with one to three of its fields changed."""
    model = onnx.load_model_from_string(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        change(model, rng)
    return bytes(model.SerializeToString())


def change(message: Any, rng: random.Random) -> None:
    """Change one field: a random walk from the model ends at a field without fields of its own, or before."""
    while True:
        fields = [field for field in message.DESCRIPTOR.fields if holds(message, field)]
        if not fields or rng.random() < 0.1:
            _set(message, rng.choice(list(message.DESCRIPTOR.fields)), rng)
            return
        field = rng.choice(fields + [f for f in fields if f.name in ("graph", "node", "initializer")] * 6)
        value = getattr(message, field.name)
        if field.message_type is None:
            _set(message, field, rng)
            return
        if not is_list(value):
            message = value
        elif rng.random() < 0.1:
            _rearrange(value, rng)
            return
        else:
            message = rng.choice(value)


def is_list(value: Any) -> bool:
    return hasattr(value, "append") or hasattr(value, "add")


def holds(message: Any, field: Any) -> bool:
    value = getattr(message, field.name)
    return bool(len(value)) if is_list(value) else message.HasField(field.name)


def _rearrange(values: Any, rng: random.Random) -> None:
    """Parts removed, repeated or exchanged."""
    kind = rng.random()
    if kind < 0.35:
        del values[rng.randrange(len(values))]
    elif kind < 0.7:
        values.extend([rng.choice(values)] * rng.choice((1, 1, 60)))
    else:
        kept = list(values)
        rng.shuffle(kept)
        copies = [type(part).FromString(part.SerializeToString()) for part in kept]
        del values[:]
        values.extend(copies)


def _set(message: Any, field: Any, rng: random.Random) -> None:
    """Another value for a field, or none."""
    value = getattr(message, field.name)
    if rng.random() < 0.15 or field.message_type is not None:
        message.ClearField(field.name)
        return
    if is_list(value):
        _change_list(value, field, rng)
    else:
        setattr(message, field.name, _another(value, field, rng))


def _change_list(values: Any, field: Any, rng: random.Random) -> None:
    kind = rng.random()
    if kind < 0.5 and len(values):
        at = rng.randrange(len(values))
        values[at] = _another(values[at], field, rng)
    elif kind < 0.75 and len(values):
        del values[rng.randrange(len(values))]
    else:
        empty = {field.TYPE_STRING: "", field.TYPE_BYTES: b""}.get(field.type, 0)
        values.append(_another(empty, field, rng))


def _another(value: Any, field: Any, rng: random.Random) -> Any:
    if field.type == field.TYPE_STRING:
        return rng.choice(TEXTS)
    if field.type == field.TYPE_BYTES:
        return (
            value[: rng.randrange(len(value) + 1)] if rng.random() < 0.5 else value + rng.randbytes(rng.choice((1, 4)))
        )
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return rng.choice(FLOATS)
    if field.type == field.TYPE_ENUM:
        return rng.choice([one.number for one in field.enum_type.values])
    number = rng.choice((*NUMBERS, value + 1, 2 * value, -value))
    if field.type in (field.TYPE_UINT32, field.TYPE_UINT64):
        number = abs(number)
    bits = 31 if field.type in (field.TYPE_INT32, field.TYPE_UINT32) else 63
    return max(-(2**bits), min(number, 2**bits - 1))
