"""The check of a checkpoint's pickle before it is read.

The list of refused names is not needed for safety: other names become inert records (see `records`). The list exists
because a checkpoint that names code is an attack or a dill file, and the user must know that.
"""

from __future__ import annotations

import pickletools
from typing import NamedTuple

from effscope.errors import EffscopeError

MAX_PICKLE_BYTES = 64 * 2**20
MAX_OPCODES = 2_000_000
MAX_MARKS = 2_000
MAX_GLOBALS = 2_000
MAX_KEY_WEIGHT = 8
MAX_INT_KEY_BYTES = 9
MAX_SHOWN = 80
MAX_CLASS_NAME = 500

DATA_OPCODES = frozenset(
    """PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE
    BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 EMPTY_LIST EMPTY_DICT EMPTY_SET EMPTY_TUPLE
    TUPLE TUPLE1 TUPLE2 TUPLE3 FROZENSET APPEND APPENDS SETITEM SETITEMS ADDITEMS
    BINPUT LONG_BINPUT BINGET LONG_BINGET MEMOIZE GLOBAL STACK_GLOBAL
    REDUCE NEWOBJ NEWOBJ_EX BUILD BINPERSID""".split()  # noqa: SIM905 - a table of words
)

DATA_BUILTINS = frozenset(
    """set frozenset slice complex bytearray object list dict tuple int float str bool bytes
    range""".split()  # noqa: SIM905 - a table of words
)

SCRIPT_LISTS = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag")
"""Functions for typed lists in TorchScript's pickles. They become inert records, like all names."""

ALLOWED_NAMES = frozenset(
    {
        "_codecs.encode", "types.SimpleNamespace", "torch.serialization._get_layout",
        *(f"torch.jit._pickle.{name}" for name in SCRIPT_LISTS),
    }
)  # fmt: skip

GETATTR = frozenset({"builtins.getattr", "__builtin__.getattr"})
"""How protocols below 4 write a class inside a class, and some versions of Python a member of an enum."""

CALLED_ONLY = GETATTR | {"functools.partial"}
"""Names that would be refused, but for one use: the pickle calls them, on inert values. The result is inert too."""

REFUSED_PREFIXES = frozenset(
    """os posix nt sys subprocess importlib imp _imp _frozen_importlib _frozen_importlib_external
    zipimport pkgutil dill cloudpickle joblib types _types marshal runpy code codeop codecs _codecs
    operator _operator functools _functools pickle _pickle shutil tempfile socket _socket ssl ctypes
    _ctypes cffi multiprocessing _posixsubprocess asyncio threading _thread thread pty popen2 commands
    webbrowser cPickle inspect gc atexit pdb bdb timeit cProfile pip setuptools pkg_resources
    distutils ensurepip venv requests urllib urllib2 httplib ftplib smtplib xmlrpc io _io builtins __builtin__
    numpy.f2py numpy.distutils numpy.testing numpy.load numpy.lib torch.hub torch.load torch.save torch.jit
    torch.ops torch.classes torch.fx torch.package torch.serialization torch.multiprocessing
    torch.distributed torch._dynamo torch._inductor torch._ops torch.compile torch.library
    torch.storage._load_from_bytes torch.utils.cpp_extension torch.utils.data torch.utils.model_zoo
    torch.utils._config_module torch.utils.bottleneck torch.utils.collect_env""".split()  # noqa: SIM905 - a table of words
)


class StackValue(NamedTuple):
    """The properties of a value on the pickle's stack that the check needs.

    Attributes:
        weight: Cost of its hash: number of values in it, once for each reference, at most 1000.
        text: The value itself, if it is a string.
        name: The full dotted name, if it is a global or a class inside one.
        pair: The values themselves, if it is a tuple of two.
    """

    weight: int
    text: str | None = None
    name: str | None = None
    pair: tuple[StackValue, ...] = ()


MARK = StackValue(0)
ONE = StackValue(1)
MAX_WEIGHT = 1000


def shown(text: str) -> str:
    """A string of the file for an error message: cut and escaped, so that it stays one line."""
    return repr(text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "...")


def check_global(module: str, name: str) -> str:
    """Check a global that a pickle names.

    Args:
        module: Name of the module in the file.
        name: Name in the module, dotted for a nested class.

    Returns:
        The full dotted name.

    Raises:
        EffscopeError: It makes or runs code.
    """
    full = f"{module}.{name}"
    if full in ALLOWED_NAMES or full in CALLED_ONLY:
        return full
    if module in ("builtins", "__builtin__") and name in DATA_BUILTINS:
        return full
    parts = full.split(".", 4)
    if any(".".join(parts[:n]) in REFUSED_PREFIXES for n in range(1, len(parts) + 1)):
        raise refusal(full)
    return full


def refusal(full: str) -> EffscopeError:
    """The error for a name that makes or runs code."""
    return EffscopeError(
        f"its pickle names {shown(full)}, which makes or runs code, so it was not opened: re-save it "
        "with torch.save(model.state_dict(), 'weights.pt') on a machine you trust"
    )


def nested_class(owner: str, name: str) -> str:
    """The full dotted name of a class inside a class, or of a member of an enum.

    Args:
        owner: Full dotted name of the outer class.
        name: Name inside it.

    Raises:
        EffscopeError: It is no name of a class or member, or it makes or runs code.
    """
    if not name.isidentifier() or name.startswith("__") or len(owner) + len(name) > MAX_CLASS_NAME:
        raise refusal("builtins.getattr")
    return check_global(owner, name)


def check_pickle(raw: bytes) -> tuple[str, ...]:
    """Check a pickle without building its values.

    Args:
        raw: The whole pickle.

    Returns:
        The full names of its globals in order of appearance.

    Raises:
        EffscopeError: It is too large, uses other opcodes than torch.save, or names something that makes or runs code.
        ValueError, LookupError: It is damaged.
    """
    if len(raw) > MAX_PICKLE_BYTES:
        raise EffscopeError(
            f"its pickle has {len(raw)} bytes, more than the {MAX_PICKLE_BYTES} a checkpoint needs: "
            "re-save only the state dict"
        )
    scan = _Scan()
    for n_seen, (opcode, arg, _) in enumerate(pickletools.genops(raw)):
        if n_seen >= MAX_OPCODES:
            raise EffscopeError(
                f"its pickle has more than {MAX_OPCODES} steps, too many for a checkpoint: re-save only the state dict"
            )
        if opcode.name not in DATA_OPCODES:
            raise EffscopeError(
                f"its pickle uses {opcode.name}, which torch.save never writes: "
                "re-save it with torch.save of a state dict on a machine you trust"
            )
        scan.step(opcode, arg)
    return tuple(scan.globals)


class _Scan:
    """The stack machine of pickle, with weights instead of values."""

    def __init__(self) -> None:
        self.stack: list[StackValue] = []
        self.memo: dict[int, StackValue] = {}
        self.globals: dict[str, None] = {}
        self._n_marks = 0

    def step(self, opcode: pickletools.OpcodeInfo, arg: object) -> None:
        """Run one opcode."""
        name = opcode.name
        if name == "MARK":
            self._mark()
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._remember(arg)
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[arg])  # type: ignore[index]
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        elif name == "POP" and self.stack[-1] is MARK:
            self._pop_to_mark()
        else:
            first, items = self._pop(opcode)
            _check_uses(name, first, items)
            _check_keys(name, first, items)
            if opcode.stack_after:
                self.stack.append(self._result(name, arg, first, items))

    def _mark(self) -> None:
        self._n_marks += 1
        if self._n_marks > MAX_MARKS:
            raise EffscopeError(f"its pickle is nested deeper than {MAX_MARKS}: re-save only the state dict")
        self.stack.append(MARK)

    def _remember(self, arg: object) -> None:
        index = arg if isinstance(arg, int) else len(self.memo)
        if index > MAX_OPCODES:
            raise EffscopeError("its pickle numbers its values beyond the limit: do not use it")
        self.memo[index] = self.stack[-1]

    def _pop_to_mark(self) -> list[StackValue]:
        items: list[StackValue] = []
        while (value := self.stack.pop()) is not MARK:
            items.append(value)
        self._n_marks -= 1
        return items[::-1]

    def _pop(self, opcode: pickletools.OpcodeInfo) -> tuple[list[StackValue], list[StackValue]]:
        """Pop the arguments of the opcode: the values below its mark, and those above it."""
        before = opcode.stack_before
        items: list[StackValue] = []
        n_first = len(before)
        if pickletools.markobject in before:
            items = self._pop_to_mark()
            n_first = before.index(pickletools.markobject)
        first = [self.stack.pop() for _ in range(n_first)][::-1]
        if any(value is MARK for value in first):
            raise ValueError("a mark where a value should be")
        return first, items

    def _result(self, name: str, arg: object, first: list[StackValue], items: list[StackValue]) -> StackValue:
        """The value that the opcode pushes."""
        if name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"):
            return first[0]
        if name.startswith("TUPLE") or name == "FROZENSET":
            weight = min(MAX_WEIGHT, 1 + sum(value.weight for value in first + items))
            return StackValue(weight, pair=tuple(first) if name == "TUPLE2" else ())
        if name == "LONG1" and isinstance(arg, int):
            return ONE if arg.bit_length() < 8 * MAX_INT_KEY_BYTES else StackValue(MAX_WEIGHT)
        if name == "GLOBAL":
            return self._named(check_global(*str(arg).split(" ", 1)))
        if name == "STACK_GLOBAL":
            module, attribute = (value.text for value in first)
            if module is None or attribute is None:
                raise ValueError("the name of a global is not a string")
            return self._named(check_global(module, attribute))
        if name == "REDUCE" and first[0].name in GETATTR:
            owner, inner = first[1].pair or (ONE, ONE)
            if owner.name is None or inner.text is None:
                raise refusal("builtins.getattr")
            return self._named(nested_class(owner.name, inner.text))
        return StackValue(1, arg) if isinstance(arg, str) else ONE

    def _named(self, full: str) -> StackValue:
        self.globals[full] = None
        if len(self.globals) > MAX_GLOBALS:
            raise EffscopeError(f"its pickle names more than {MAX_GLOBALS} classes: re-save only the state dict")
        return StackValue(1, name=full)


def _check_uses(name: str, first: list[StackValue], items: list[StackValue]) -> None:
    """Refuse names of `CALLED_ONLY` as anything but the function of a call.

    Raises:
        EffscopeError: One is an argument, an entry, a class or the whole content.
    """
    called = name == "REDUCE"
    for value in (*first[called:], *items):
        if value.name in CALLED_ONLY:
            raise refusal(value.name)


def _check_keys(name: str, first: list[StackValue], items: list[StackValue]) -> None:
    """Refuse dictionary keys and set members with a slow hash.

    Raises:
        EffscopeError: One has a weight above `MAX_KEY_WEIGHT`.
    """
    keys: list[StackValue] = []
    if name == "SETITEM":
        keys = first[1:2]
    elif name == "SETITEMS":
        keys = items[::2]
    elif name in ("ADDITEMS", "FROZENSET"):
        keys = items
    if any(value.weight > MAX_KEY_WEIGHT for value in keys):
        raise EffscopeError(
            "its pickle has dictionary keys built of many values, unlike any checkpoint: "
            "re-save it with torch.save of a state dict on a machine you trust"
        )
