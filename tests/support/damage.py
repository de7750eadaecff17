"""Random damage of weights files. The same seed does the same damage."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping

from support.damaged_code import damaged_code
from support.damaged_json import damaged_json
from support.damaged_onnx import damaged_graph
from support.damaged_pickles import damaged_pickle
from support.sound_files import BESIDE, Sound

LENGTHS = (0, 1, 2, 7, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
"""Numbers that replace those in headers."""

Damage = Callable[[Sound, random.Random], tuple[bytes, dict[str, bytes]]]
"""Makes the bytes of a damaged file, and of the files beside it."""


def flipped(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def replaced(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def cut_start(data: bytes, rng: random.Random) -> bytes:
    return data[rng.randrange(len(data)) :]


def longer(data: bytes, rng: random.Random) -> bytes:
    return data + rng.randbytes(rng.choice((1, 8, 1000)))


def swapped(data: bytes, rng: random.Random) -> bytes:
    """Two blocks of the same length change places."""
    n = rng.randint(1, max(1, len(data) // 4))
    a, b = sorted(rng.randrange(max(1, len(data) - n)) for _ in range(2))
    b = max(b, a + n)
    return data[:a] + data[b : b + n] + data[a + n : b] + data[a : a + n] + data[b + n :]


def repeated(data: bytes, rng: random.Random) -> bytes:
    at, n = rng.randrange(len(data)), rng.choice((1, 8, 40, 512, 4096))
    return data[: at + n] + data[at : at + n] * rng.choice((1, 1, 2, 50)) + data[at + n :]


def removed(data: bytes, rng: random.Random) -> bytes:
    at, n = rng.randrange(len(data)), rng.choice((1, 8, 40, 512, 4096))
    return data[:at] + data[at + n :]


def zeroed(data: bytes, rng: random.Random) -> bytes:
    at, n = rng.randrange(len(data)), rng.choice((4, 40, 512, 4096))
    return data[:at] + bytes(len(data[at : at + n])) + data[at + n :]


def renumbered(data: bytes, rng: random.Random) -> bytes:
    """A number of two, four or eight bytes becomes an extreme one; in half of the cases near an end, as in headers."""
    n = rng.choice((2, 4, 8))
    last = max(1, len(data) - n)
    at = rng.randrange(last)
    if rng.random() < 0.5:
        at = min(at % 64, last - 1) if rng.random() < 0.5 else max(0, last - 1 - at % 400)
    number = (rng.choice(LENGTHS) % 2 ** (8 * n)).to_bytes(n, "little")
    return data[:at] + number + data[at + n :]


BYTES = (flipped, flipped, replaced, replaced, cut, cut_start, longer, swapped, repeated, removed, zeroed, renumbered,
         renumbered)  # fmt: skip


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    return rng.choice(BYTES)(data, rng) if data else rng.randbytes(3)


# -- zip archives ------------------------------------------------------------------------------------------------------


def in_archive(sound: Sound, rng: random.Random) -> tuple[bytes, dict[str, bytes]]:
    """Entries with damage behind right checksums, so that it reaches the parsers."""
    with zipfile.ZipFile(io.BytesIO(sound.data)) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        held = with_damaged_entry(held, rng)
    stream = io.BytesIO()
    packed = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(stream, "w", packed) as archive:
        for name, data in held.items():
            archive.writestr(name, data)
    return stream.getvalue(), {}


def with_damaged_entry(held: Mapping[str, bytes], rng: random.Random) -> dict[str, bytes]:
    """The entries, one of them with damage, renamed, removed or with the content of another one."""
    parsed = [name for name in held if name.endswith((".pkl", ".py", ".json"))]
    name = rng.choice(parsed if parsed and rng.random() < 0.75 else list(held))
    done = rng.random()
    if done < 0.03:
        return {key: data for key, data in held.items() if key != name}
    if done < 0.06:
        return {(f"{key[: rng.randrange(len(key))]}x" if key == name else key): data for key, data in held.items()}
    if done < 0.09:
        return {**held, name: held[rng.choice(list(held))]}
    if done < 0.10:
        return {**held, f"{name}/{name}": held[name]}
    return {**held, name: damaged_entry(name, held[name], rng)}


def damaged_entry(name: str, data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.85:
        if name.endswith(".pkl"):
            return damaged_pickle(data, rng)
        if name.endswith(".json"):
            return damaged_json(data, rng)
        if name.endswith(".py"):
            return damaged_code(data, rng)
    if rng.random() < 0.3:  # numbers far from those of weights
        word = rng.choice((b"\x00\x00\x80\x7f", b"\x00\x00\xc0\x7f", b"\xff\xff\x7f\x7f", b"\x00\x00\x00\x00"))
        return word * (len(data) // 4) + data[: len(data) % 4]
    return damaged_bytes(data, rng)


# -- other formats -----------------------------------------------------------------------------------------------------


def in_file(sound: Sound, rng: random.Random) -> tuple[bytes, dict[str, bytes]]:
    """Damage anywhere in the file."""
    return damaged_bytes(sound.data, rng), sound.beside


def in_header(sound: Sound, rng: random.Random) -> tuple[bytes, dict[str, bytes]]:
    """A safetensors header with other values behind its right length, or a wrong length."""
    n = int.from_bytes(sound.data[:8], "little")
    header, numbers = sound.data[8 : 8 + n], sound.data[8 + n :]
    if rng.random() < 0.1:
        return rng.choice((*LENGTHS, n - 1, n + 1)).to_bytes(8, "little") + header + numbers, {}
    changed = damaged_json(header, rng)
    if rng.random() < 0.2:
        changed = json.dumps({f"w{k}": json.loads(header)["head.weight"] for k in range(200)}).encode()
    changed += b" " * (-len(changed) % 8)
    return len(changed).to_bytes(8, "little") + changed + numbers, {}


def in_graph(sound: Sound, rng: random.Random) -> tuple[bytes, dict[str, bytes]]:
    """Fields of an ONNX graph with other values."""
    return damaged_graph(sound.data, rng), sound.beside


def in_data(sound: Sound, rng: random.Random) -> tuple[bytes, dict[str, bytes]]:
    """Damage in the file beside the graph; or it is empty, or missing."""
    data = sound.beside[BESIDE]
    kind = rng.random()
    if kind < 0.1:
        return sound.data, {} if rng.random() < 0.5 else {BESIDE: b""}
    graph = damaged_graph(sound.data, rng) if kind < 0.4 else sound.data
    return graph, {BESIDE: damaged_bytes(data, rng)}


def damages(sound: Sound) -> tuple[Damage, ...]:
    """The kinds of damage that fit a format, the frequent ones several times."""
    if sound.beside:
        return (in_file, in_graph, in_graph, in_data)
    if sound.suffix == ".onnx":
        return (in_file, in_graph, in_graph, in_graph)
    if sound.suffix == ".safetensors":
        return (in_file, in_header, in_header)
    return (in_file, in_archive, in_archive, in_archive)
