"""Random damage of pickles, opcode by opcode."""

from __future__ import annotations

import pickletools
import random
import struct

from support.damaged_code import CANARY, MARK

NAMES = (
    "os system", "posix system", "builtins eval", "builtins exec", "builtins getattr", "subprocess Popen", "a A",
    f"{CANARY} run", f"{CANARY} Inner.run", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter",
    "torch FloatStorage", "torch BoolStorage", "torch ComplexFloatStorage", "torch QInt8Storage", "torch Size",
    "torch.nn.modules.conv Conv2d", "torch float32", "collections OrderedDict", "collections defaultdict",
    "__builtin__ set", "_codecs encode", "numpy.core.multiarray _reconstruct", "numpy._core.multiarray scalar",
    "numpy dtype", "numpy ndarray", "torch._tensor _rebuild_from_type_v2", "functools partial", "types SimpleNamespace",
    "antigravity fly", "a\x1b b", "ö ü",
)  # fmt: skip
"""Globals that replace those of the pickle."""

TEXTS = ("", "x", "0", "1", "weight", "_modules", "_parameters", "__class__", "__dict__", "a\nb", "../0", "0/../../x",
         "F4", "<f4", "|O", "é" * 200, ".", "model.0.weight", "state_dict", "ema", "module.", "cuda:0")  # fmt: skip
"""Strings that replace those of the pickle."""

INTS = (0, 1, 2, 3, 7, 255, 2**15, 2**31 - 1, -1, -(2**31))
FLOATS = (0.0, -1.0, float("inf"), float("nan"), 1e308)
EMPTY = (b")", b"]", b"}", b"N", b"\x88", b"0", b"(", b"\x85", b"\x86", b"s", b"b", b"R", b"Q", b"t", b"u", b"2", b"1")
"""Opcodes without arguments."""


def text_opcode(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def global_opcode(name: str) -> bytes:
    return b"c" + name.replace(" ", "\n").encode() + b"\n"


def runner(rng: random.Random) -> bytes:
    """A call that would leave a mark, and the removal of its result."""
    name, argument = rng.choice((
        ("os system", f"touch {MARK}"),
        ("posix system", f"touch {MARK}"),
        ("builtins open", MARK),
        ("builtins eval", f"open('{MARK}', 'w')"),
        ("zipfile ZipFile", MARK),
        ("pathlib Path.touch", MARK),
        (f"{CANARY} run", MARK),
        (f"{CANARY} Inner", MARK),
    ))  # fmt: skip
    return global_opcode(name) + text_opcode(argument) + b"\x85R0"


def damaged_pickle(data: bytes, rng: random.Random) -> bytes:
    """The pickle with one to three of its opcodes changed, removed, repeated or exchanged."""
    try:
        starts = [position or 0 for _, _, position in pickletools.genops(data)]
    except Exception:  # pickletools raises all kinds of errors for a pickle that has damage already
        return data[: rng.randrange(len(data) + 1)]
    parts = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(parts))
        kind = rng.random()
        if kind < 0.55:
            parts[at] = changed(parts[at], rng)
        elif kind < 0.65:
            parts.insert(at, runner(rng) if at else parts[at])
        elif kind < 0.75:
            parts.insert(at, rng.choice(EMPTY))
        elif kind < 0.82:
            del parts[at]
        elif kind < 0.92:
            other = rng.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        else:
            n = rng.randint(1, 30)
            parts[at:at] = parts[at : at + n] * rng.choice((1, 1, 20))
    return b"".join(parts)


def changed(part: bytes, rng: random.Random) -> bytes:
    """Another opcode of the same kind, or with another argument."""
    code = part[:1]
    if code == b"c":
        return global_opcode(rng.choice(NAMES))
    if code in (b"X", b"\x8c"):
        return text_opcode(rng.choice(TEXTS))
    if code in (b"K", b"M", b"J"):
        return b"J" + struct.pack("<i", rng.choice(INTS))
    if code == b"\x8a":
        return b"\x8a\x08" + struct.pack("<q", rng.choice((2**62, -1, 2**40, 2**33)))
    if code == b"G":
        return b"G" + struct.pack(">d", rng.choice(FLOATS))
    if code in (b"h", b"j", b"q", b"r"):
        return bytes((part[0], rng.randrange(256), *part[2:]))
    if code in (b"B", b"C"):
        data = part[2 if code == b"C" else 5 :]
        return b"B" + struct.pack("<I", max(0, len(data) - 1)) + data[1:]
    return rng.choice(EMPTY)
