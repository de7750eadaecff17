"""Partials, classes inside classes and enums of a pickled module: inert records. Nothing is run or looked up."""

from __future__ import annotations

import enum
import functools
import os
import pickle
import struct
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from support.checkpoints import TorchZip
from torch import nn

import effscope
from effscope.checkpoint import nested_classes
from effscope.checkpoint.pickled import policy, reader
from effscope.checkpoint.pickled.records import Record
from effscope.checkpoint.read import read_checkpoint
from effscope.errors import EffscopeError

MAX_SECONDS = 10


class Kind(enum.Enum):
    SMALL = 1


class Plain:
    pass


class Outer:
    class Inner:
        class Deep(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv2d(3, 4, 1)

    class Mode(enum.Enum):
        FAST = "fast"


class Net(nn.Module):
    """A module with one attribute of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.deep = Outer.Inner.Deep()
        self.norm = functools.partial(nn.LayerNorm, eps=1e-6)
        self.twice = functools.partial(functools.partial(nn.Conv2d, 3), 4, bias=False)
        self.act, self.kind, self.mode = nn.ReLU, Kind.SMALL, Outer.Mode.FAST
        self.plain, self.config = Plain(), Outer.Inner()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_module_with_such_attributes_is_read(protocol: int, tmp_path: Path) -> None:
    model = Net()
    torch.save(model, tmp_path / "whole.pt", pickle_protocol=protocol)
    found = read_checkpoint(tmp_path / "whole.pt")
    assert found.state.keys() == model.state_dict().keys()
    assert [record.class_name.rpartition(".")[2] for record in found.modules] == ["Net", "Deep", "Conv2d"]
    assert found.modules[1].class_name.endswith("test_inert_objects.Outer.Inner.Deep")
    assert effscope.cost(str(tmp_path / "whole.pt")).params == sum(p.numel() for p in model.parameters())


def glob(name: str) -> bytes:
    return b"c" + name.replace(" ", "\n").encode() + b"\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def attribute(owner: bytes, name: bytes) -> bytes:
    """Opcodes of getattr(owner, name) as protocol 2 writes them."""
    return glob("__builtin__ getattr") + owner + name + b"\x86R"


def test_a_partial_is_a_record_of_what_it_holds() -> None:
    raw = pickle.dumps(functools.partial(nn.LayerNorm, 7, eps=1e-6), protocol=2)
    made = nested_classes.load_records(raw)
    assert isinstance(made, Record) and made.class_name == "functools.partial" and not callable(made)
    (function,) = made.args
    assert isinstance(function, type) and issubclass(function, Record)
    assert made.state == (function, (7,), {"eps": 1e-6}, None)


def test_a_member_of_an_enum_is_inert_in_both_forms() -> None:
    value = nested_classes.load_records(pickle.dumps(Kind.SMALL, protocol=2))
    assert isinstance(value, Record) and value.class_name.endswith("Kind") and value.args == (1,)
    member = nested_classes.load_records(b"\x80\x02" + attribute(glob("a Kind"), text("SMALL")) + b".")
    assert isinstance(member, type) and issubclass(member, Record) and member.class_name == "a.Kind.SMALL"


def refused(raw: bytes, torch_zip: TorchZip, tmp_path: Path) -> str:
    """The error of one line of a pickle. It comes quickly, and nothing is imported or written."""
    with pytest.raises(EffscopeError):
        read_checkpoint(torch_zip({}))  # zipfile loads a codec on first use
    modules, files = set(sys.modules), set(tmp_path.rglob("*"))
    start = time.process_time()
    with pytest.raises(EffscopeError) as caught:
        read_checkpoint(torch_zip(raw))
    message = str(caught.value)
    assert "\n" not in message and time.process_time() - start < MAX_SECONDS
    assert set(sys.modules) == modules and set(tmp_path.rglob("*")) == files
    return message


class Reduces:
    """Pickles as a call, with a state."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


PARTIAL = functools.partial
CODE: dict[str, Any] = {
    "a partial of os.system": lambda m: PARTIAL(os.system, f"touch {m}"),
    "a partial of eval": lambda m: PARTIAL(eval, f"open({m!r}, 'w')"),
    "a partial of open": lambda m: PARTIAL(open, m, "w"),
    "a partial of getattr": lambda m: PARTIAL(getattr, m, "touch"),
    "a partial of partial": lambda m: Reduces(PARTIAL, (PARTIAL,)),
    "a partial with code in its arguments": lambda m: PARTIAL(nn.Linear, os.system),
    "a partial with code in its keywords": lambda m: PARTIAL(nn.Linear, key=exec),
    "a called partial": lambda m: Reduces(PARTIAL(os.system, f"touch {m}"), ()),
    "the name partial": lambda m: [PARTIAL],
    "the name partial as a key": lambda m: {PARTIAL: 1},
    "the name getattr": lambda m: {"a": getattr},
    "getattr of a string": lambda m: Reduces(getattr, ("", "join")),
    "getattr of a module's function": lambda m: Reduces(getattr, (os.system, "__call__")),
    "getattr with a default": lambda m: Reduces(getattr, (nn.Linear, "bias", None)),
    "getattr of one value": lambda m: Reduces(getattr, (nn.Linear,)),
    "getattr by a number": lambda m: Reduces(getattr, (nn.Linear, 3)),
    "getattr of an object": lambda m: Reduces(getattr, (Plain(), "method")),
    "a method of an object": lambda m: Plain().__repr__,
    "a partialmethod": lambda m: functools.partialmethod,
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", CODE)
def test_code_is_still_refused(name: str, protocol: int, torch_zip: TorchZip, tmp_path: Path) -> None:
    marker = tmp_path / "was_run"
    raw = pickle.dumps({"model": CODE[name](str(marker))}, protocol=protocol)
    assert "makes or runs code" in refused(raw, torch_zip, tmp_path)
    assert not marker.exists()


A = glob("a A")
ATTRIBUTES: dict[str, bytes] = {
    "a name with two underscores": attribute(A, text("__class__")),
    "subclasses": attribute(glob("__builtin__ object"), text("__subclasses__")),
    "a dotted name": attribute(A, text("B.C")),
    "an empty name": attribute(A, text("")),
    "bytes": attribute(A, b"C\x01x"),
    "a record": attribute(A + b")\x81", text("x")),
    "a call": attribute(A + b")R", text("x")),
    "a dictionary": attribute(b"}", text("items")),
    "a list": attribute(b"]", text("append")),
    "an ordered dictionary": attribute(glob("collections OrderedDict"), text("fromkeys")),
    "a function of torch": attribute(glob("torch._utils _rebuild_tensor_v2"), text("function")),
    "a function by its owner": attribute(glob("torch _utils"), text("_rebuild_tensor_v2")),
    "a storage": attribute(glob("torch FloatStorage"), text("name")),
    "an element type": attribute(glob("torch float16"), text("name")),
    "a refused name": attribute(glob("torch utils"), text("data")),
    "a refused function": attribute(glob("torch jit"), text("load")),
    "a long name": attribute(A, text("x" * 600)),
    "getattr itself": attribute(glob("__builtin__ getattr"), text("x")),
    "a list as arguments": glob("__builtin__ getattr") + b"](" + A + text("x") + b"eR",
    "no arguments": glob("__builtin__ getattr") + b")R",
    "a new object": glob("__builtin__ getattr") + A + text("x") + b"\x86\x81",
    "a state": glob("__builtin__ getattr") + b"}b",
    "arguments that change": b"](" + A + text("x") + b"eq\x000" + glob("__builtin__ getattr") + b"h\x00\x85R",
    "a new partial": glob("functools partial") + A + b"\x85\x81",
    "a partial with a state": glob("functools partial") + b"}b",
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_names_inside_anything_else_are_refused(name: str, torch_zip: TorchZip, tmp_path: Path) -> None:
    raw = b"\x80\x02}" + text("model") + ATTRIBUTES[name] + b"s."
    assert "makes or runs code" in refused(raw, torch_zip, tmp_path)


def test_the_unpickler_does_not_rely_on_the_check_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two refuses alone."""
    monkeypatch.setattr(reader, "check_pickle", lambda raw: ())
    for name, opcodes in ATTRIBUTES.items():
        if b"getattr" in opcodes:
            try:
                made = nested_classes.load_records(b"\x80\x02" + opcodes + b".")
            except EffscopeError:
                continue
            raise AssertionError((name, made))


def test_a_partial_cannot_be_called_by_a_later_step(torch_zip: TorchZip, tmp_path: Path) -> None:
    partial = glob("functools partial") + A + b"\x85R"
    for call in (b")R", b"\x85R", b")\x81", b"}\x92"):
        raw = b"\x80\x02}" + text("model") + partial + call + b"s."
        assert "damaged" in refused(raw, torch_zip, tmp_path)


def test_many_nested_names_end_quickly(torch_zip: TorchZip, tmp_path: Path) -> None:
    many = b"".join(attribute(A, text(f"n{n}")) + b"0" for n in range(20_000))
    assert "names more than" in refused(b"\x80\x02" + many + b"N.", torch_zip, tmp_path)
    chain = A + b"q\x00"
    for _ in range(20_000):
        chain += glob("__builtin__ getattr") + b"h\x00" + text("n") + b"\x86Rq\x00"
    assert "makes or runs code" in refused(b"\x80\x02" + chain + b".", torch_zip, tmp_path)


def test_other_readers_of_records_do_not_join_names() -> None:
    """Without the joined names a call of getattr is a record that holds its arguments."""
    made = reader.load_records(b"\x80\x02" + attribute(A, text("B")) + b".")
    assert isinstance(made, Record) and made.class_name == "__builtin__.getattr"
    assert policy.check_pickle(b"\x80\x02" + attribute(A, text("B")) + b".") == ("__builtin__.getattr", "a.A", "a.A.B")
