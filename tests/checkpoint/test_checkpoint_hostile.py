"""Hostile files: nothing in them runs, and each one ends quickly in an error of one line."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.checkpoints import TorchZip

from effscope.checkpoint.pickled import reader
from effscope.checkpoint.pickled.records import Record
from effscope.checkpoint.read import read_checkpoint
from effscope.errors import EffscopeError

MAX_SECONDS = 10
MARKER = "effscope_was_run"


class Calls:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def text(value: str) -> bytes:
    """The opcode that pushes a string."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def glob(name: str) -> bytes:
    """The opcode that pushes a global, "module name"."""
    return b"c" + name.replace(" ", "\n").encode() + b"\n"


def refused(path: Path) -> str:
    """The error of one line of the file; it must come quickly."""
    start = time.process_time()
    with pytest.raises(EffscopeError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message and time.process_time() - start < MAX_SECONDS
    return message


RUNNERS: dict[str, Callable[[str], Calls]] = {
    "os.system": lambda m: Calls(os.system, f"touch {m}"),
    "eval": lambda m: Calls(eval, f"open({m!r}, 'w')"),
    "exec": lambda m: Calls(exec, f"open({m!r}, 'w')"),
    "getattr": lambda m: Calls(getattr, "", "join"),
    "open": lambda m: Calls(open, m, "w"),
    "popen": lambda m: Calls(subprocess.Popen, ["touch", m]),
    "import": lambda m: Calls(__import__, "this"),
    "torch.load": lambda m: Calls(torch.load, m),
    "torch.hub": lambda m: Calls(torch.hub.load, m, "x"),
    "torch.save": lambda m: Calls(torch.save, 1, m),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", RUNNERS)
def test_code_runners_are_refused_and_do_not_run(tmp_path: Path, torch_zip: TorchZip, name: str, protocol: int) -> None:
    marker = tmp_path / MARKER
    refused(torch_zip({}))  # zipfile loads a codec on first use
    path = torch_zip(pickle.dumps({"model": RUNNERS[name](str(marker))}, protocol=protocol))
    before = set(sys.modules)
    message = refused(path)
    assert "makes or runs code" in message and str(path) in message
    assert not marker.exists() and set(sys.modules) == before


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval", "__builtin__ apply", "posix system", "functools partial", "operator attrgetter",
        "types CodeType", "importlib import_module", "marshal loads", "runpy run_path", "dill loads",
        "cloudpickle.cloudpickle _make_function", "torch hub.load", "torch.hub load", "torch ops.load_library",
        "torch.storage _load_from_bytes", "_codecs lookup", "builtins.eval __call__", "numpy load",
    ],
)  # fmt: skip
def test_code_names_are_refused_even_if_not_called(torch_zip: TorchZip, name: str) -> None:
    assert "makes or runs code" in refused(torch_zip(b"\x80\x02" + glob(name) + b"."))
    module, attribute = name.split(" ")
    stacked = b"\x80\x04" + text(module) + text(attribute) + b"\x93."
    assert "makes or runs code" in refused(torch_zip(stacked))


def test_names_that_exist_here_become_records(tmp_path: Path) -> None:
    marker = tmp_path / MARKER
    before = set(sys.modules)
    value = [Calls(zipfile.ZipFile, str(marker), "w"), Path("x"), torch.device("cpu")]
    loaded = reader.load_records(pickle.dumps(value, protocol=4))
    assert isinstance(loaded, list) and all(isinstance(part, Record) for part in loaded)
    assert loaded[0].class_name == "zipfile.ZipFile" and loaded[0].args == (str(marker), "w")
    for name in ("torch zeros", "antigravity fly"):
        unknown = reader.load_records(b"\x80\x02" + glob(name) + b"K\x03\x85R.")
        assert isinstance(unknown, Record) and unknown.class_name == name.replace(" ", ".")
        assert unknown.args == (3,)
    assert not marker.exists() and set(sys.modules) == before


STATES = {
    "class": b"}" + text("__class__") + glob("a B") + b"s",
    "slots": b"}" + b"}" + text("__class__") + glob("a B") + b"s" + b"\x86",
    "method": b"}" + text("attributes") + b"Ns",
}
TARGETS = {
    "record": glob("a A") + b")\x81",
    "record class": glob("a A"),
    "ordered": glob("collections OrderedDict") + b")R",
    "ordered class": glob("collections OrderedDict"),
    "rebuilder": glob("torch._utils _rebuild_tensor_v2"),
    "dtype": glob("torch FloatStorage"),
    "set": glob("__builtin__ set") + b"]\x85R",
    "list": b"]",
    "dict": b"}",
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("target", TARGETS)
def test_the_build_opcode_changes_no_object_of_effscope(target: str, state: str) -> None:
    raw = b"\x80\x02" + TARGETS[target] + STATES[state] + b"b."
    try:
        loaded = reader.load_records(raw)
    except EffscopeError:
        loaded = None
    if isinstance(loaded, Record):
        assert loaded.class_name == "a.A" and callable(loaded.attributes)
    assert isinstance(reader.load_records(b"\x80\x02" + TARGETS["ordered"] + b"."), dict)
    assert reader.STORAGE_DTYPES["torch.FloatStorage"] == "float32"


def bomb(opening: bytes, doubling: bytes, depth: int) -> bytes:
    """A value that contains the last value twice, repeated `depth` times."""
    raw = b"\x80\x02" + opening + b"q\x00"
    for _ in range(depth):
        raw += b"h\x00h\x00" + doubling + b"q\x00"
    return raw


def test_bombs_of_shared_references(torch_zip: TorchZip) -> None:
    keyed = bomb(b")", b"\x86", 60)
    for use in (b"}h\x00Ns", b"}(h\x00Nu", b"\x8f(h\x00\x90", b"(h\x00\x91"):
        assert "keys built of many values" in refused(torch_zip(keyed + use + b"."))
    pairs = bomb(b")", b"\x86", 60) + glob("__builtin__ set") + b"](h\x00h\x00e\x85R."
    assert "nested values" in refused(torch_zip(pairs))
    names = bomb(b"]", b"\x86", 60)
    module = glob("a A") + b")\x81}(" + text("_modules") + b"}" + text("names") + b"h\x00" + text("_parameters")
    module += b"}" + text("w") + TENSOR + b"sub"
    assert "expands to far more data" in refused(torch_zip(names + module + b".", {"0": bytes(16)}))


def test_bomb_of_shared_modules(torch_zip: TorchZip) -> None:
    leaf = glob("a A") + b")\x81}" + text("_modules") + b"}sb"
    raw = b"\x80\x02" + leaf + b"q\x00"
    for _ in range(60):
        raw += glob("a A") + b")\x81}" + text("_modules") + b"}(" + text("l") + b"h\x00" + text("r") + b"h\x00usbq\x00"
    assert "module tree" in refused(torch_zip(raw + b"."))


TENSOR_HEAD = glob("torch._utils _rebuild_tensor_v2") + b"("
STORAGE = b"(" + text("storage") + glob("torch FloatStorage") + text("0") + text("cpu") + b"K\x04tQ"
TENSOR = TENSOR_HEAD + STORAGE + b"K\x00K\x04\x85K\x01\x85\x89}tR"


def test_deep_nesting_ends_in_one_line(torch_zip: TorchZip) -> None:
    n = 300_000
    deep_lists = b"\x80\x02" + b"]" * n + b"a" * (n - 1) + b"."
    deep_tuples = b"\x80\x02)" + b"\x85" * n + b"."
    deep_records = b"\x80\x02" + (glob("a A") + b")\x81}" + text("x")) * 50_000 + b"N" + b"sb" * 50_000 + b"."
    assert all(refused(torch_zip(raw)) for raw in (deep_lists, deep_tuples, deep_records))
    assert "nested deeper" in refused(torch_zip(b"\x80\x02" + b"(" * 5_000 + b"t" * 5_000 + b"."))


def test_impossible_opcodes(torch_zip: TorchZip, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "beyond the limit" in refused(torch_zip(b"\x80\x02]r\xff\xff\xff\x7f."))
    assert "LONG4" in refused(torch_zip(b"\x80\x02\x8b\x01\x00\x00\x00\x01."))
    assert "makes or runs code" in refused(torch_zip(b"(cos\nsystem\n."))
    for raw in (b"\x80\x02\x82\x01.", b"(ios\nsystem\n.", b"P1\n.", b"\x80\x05\x97."):
        assert "which torch.save never writes" in refused(torch_zip(raw))
    for raw in (b"\x80\x02", b".", b"\x80\x02h\x00.", b"\x80\x02ta.", b"\x80\x02]Kq0", b"", b"\x80\x63N."):
        assert "damaged" in refused(torch_zip(raw))
    monkeypatch.setattr("effscope.checkpoint.pickled.policy.MAX_OPCODES", 50)
    assert "more than 50 steps" in refused(torch_zip(b"\x80\x02" + b"N0" * 100 + b"N."))


PIDS = {
    "text": text("storage") + b"Q",
    "short": b"(" + text("storage") + b"tQ",
    "negative": b"(" + text("storage") + glob("torch FloatStorage") + text("0") + text("cpu") + b"J\xff\xff\xff\xfftQ",
    "key": b"(" + text("storage") + glob("torch FloatStorage") + b"NNK\x04tQ",
    "class": b"(" + text("storage") + glob("a FloatStorage") + text("0") + text("cpu") + b"K\x04tQ",
    "other": b"(" + text("module") + glob("torch FloatStorage") + text("0") + text("cpu") + b"K\x04tQ",
}


@pytest.mark.parametrize("name", PIDS)
def test_malformed_persistent_ids(torch_zip: TorchZip, name: str) -> None:
    message = refused(torch_zip(b"\x80\x02}" + text("w") + PIDS[name] + b"s."))
    assert "unknown way" in message or "not supported" in message


# storage of 4 floats; offset, size, stride as opcodes
EXTENTS = {
    "too long": b"K\x00K\x05\x85K\x01\x85",
    "offset": b"K\x01K\x04\x85K\x01\x85",
    "stride": b"K\x00K\x02\x85K\x04\x85",
    "expanded": b"K\x00K\x09\x85K\x00\x85",
    "negative size": b"K\x00J\xff\xff\xff\xff\x85K\x01\x85",
    "negative stride": b"K\x03K\x02\x85J\xff\xff\xff\xff\x85",
    "negative offset": b"J\xff\xff\xff\xffK\x02\x85K\x01\x85",
    "rank": b"K\x00K\x02K\x02\x86K\x01\x85",
    "huge": b"K\x00\x8a\x10" + b"\xff" * 15 + b"\x7f\x85K\x01\x85",
    "empty and huge": b"K\x00K\x00\x8a\x08" + b"\x00" * 6 + b"\x01\x00\x86K\x01K\x01\x86",
    "text": b"K\x00" + text("4") + b"\x85K\x01\x85",
    "bool": b"K\x00\x88\x85K\x01\x85",
}


@pytest.mark.parametrize("name", EXTENTS)
def test_tensors_outside_of_their_storage(torch_zip: TorchZip, name: str) -> None:
    raw = b"\x80\x02}" + text("w") + TENSOR_HEAD + STORAGE + EXTENTS[name] + b"\x89}tRs."
    assert "tensor" in refused(torch_zip(raw, {"0": bytes(16)}))


def test_storages_that_are_missing_or_short(torch_zip: TorchZip) -> None:
    raw = b"\x80\x02}" + text("w") + TENSOR + b"s."
    assert torch.equal(read_checkpoint(torch_zip(raw, {"0": bytes(16)})).state["w"], torch.zeros(4))
    assert "has 15 bytes for 4 numbers" in refused(torch_zip(raw, {"0": bytes(15)}))
    assert "are missing" in refused(torch_zip(raw))
    assert "are missing" in refused(torch_zip(raw.replace(text("0"), text("../data.pkl"))))


def test_zip_bombs(torch_zip: TorchZip) -> None:
    raw = b"\x80\x02}" + text("w") + TENSOR + b"s."
    path = torch_zip(raw, {"0": bytes(5_000_000)}, compression=zipfile.ZIP_DEFLATED)
    assert "zip bomb" in refused(path)
    path = torch_zip(raw, {"0": os.urandom(50_000)})
    data = bytearray(path.read_bytes())
    entry = data.rfind(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = struct.pack("<II", 10**9, 10**9)
    path.write_bytes(data)
    assert "overlapping entries" in refused(path)


def test_messages_stay_one_clean_line(torch_zip: TorchZip) -> None:
    stacked = b"\x80\x04" + text("os.\x1b[31m\nspoof") + text("x" * 500) + b"\x93."
    message = refused(torch_zip(stacked))
    assert message.isprintable() and len(message) < 500
