"""Weights files with random damage are read, or refused in one line, and quickly."""

from __future__ import annotations

import io
import random
import time
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from support.checkpoints import TorchZip, detector, saved

from effscope.checkpoint.read import read_checkpoint
from effscope.errors import EffscopeError

MAX_SECONDS = 10
N_TRIES = 400


def read_or_refused(path: Path) -> str:
    """Whether the file is read or refused. Any other exception fails the test."""
    start = time.process_time()
    try:
        read_checkpoint(path)
        end = "read"
    except EffscopeError as error:
        assert "\n" not in str(error)
        end = "refused"
    assert time.process_time() - start < MAX_SECONDS
    return end


def small_checkpoints() -> list[bytes]:
    """A pickled detector and a state dict, as torch.save writes them."""
    model, classes = detector()
    stream = io.BytesIO()
    torch.save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2).half()}, stream)
    return [saved({"version": "8.4.0", "model": model}, classes), stream.getvalue()]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The data with one to four bytes changed, the end removed, or 40 bytes repeated."""
    out, at = bytearray(data), rng.randrange(len(data))
    kind = rng.choice(["cut", "double", "flip", "flip", "flip", "flip"])
    if kind == "cut":
        return data[:at]
    if kind == "double":
        return data[:at] + data[max(0, at - 40) :]
    for _ in range(rng.randint(1, 4)):
        out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pickletools, on text opcodes
def test_damaged_pickles_in_intact_archives(torch_zip: TorchZip) -> None:
    rng, ends = random.Random(7), set()
    for data in small_checkpoints():
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            raw = archive.read("archive/data.pkl")
            storages = {n.split("/")[-1]: archive.read(n) for n in archive.namelist() if "/data/" in n}
        ends |= {read_or_refused(torch_zip(mutated(raw, rng), storages)) for _ in range(N_TRIES)}
    assert ends == {"read", "refused"}


def test_damaged_files(tmp_path: Path) -> None:
    rng, ends, path = random.Random(8), set(), tmp_path / "damaged.pt"
    intact = [*small_checkpoints(), save({"a": torch.ones(3), "b": torch.ones(2, 2).half()}, {"x": "y"})]
    for data in intact:
        for _ in range(N_TRIES):
            path.write_bytes(mutated(data, rng))
            ends.add(read_or_refused(path))
    assert ends == {"read", "refused"}
