"""The inert values that stand for what a pickle names, so that reading one never runs anything.

Every object that a pickle can reach is defined here or is plain data. A pickle can call an object,
give it a state (opcode BUILD) and put items into it; each class below says what then happens, and
the answer is never more than "it is kept" or an EffscopeError.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import ClassVar

from effscope.errors import EffscopeError


class Budget:
    """Work that one file may cause, so that shared references cannot be multiplied into a bomb."""

    def __init__(self, n_units: int) -> None:
        """Allow `n_units` values to be visited or copied."""
        self._left = n_units

    def charge(self, n_units: int) -> None:
        """Take `n_units` from what is left.

        Raises:
            EffscopeError: Nothing is left.
        """
        self._left -= n_units
        if self._left < 0:
            raise EffscopeError("the pickle expands to far more data than its size: it is not a checkpoint to trust")


class Sealed:
    """A value that no pickle may change after it was made."""

    def __setstate__(self, state: object) -> None:
        """Refuse the opcode BUILD.

        Raises:
            EffscopeError: Always.
        """
        raise EffscopeError(f"the pickle overwrites a {type(self).__name__}, which no checkpoint does: do not use it")


class Record:
    """An object of a class that was not imported.

    `Record` itself is never instantiated: `record_class` makes one subclass per class name.

    Attributes:
        class_name: Full dotted name in the file, e.g. "ultralytics.nn.modules.block.C2f".
        args: Positional arguments the file would have called the class with.
        kwargs: Keyword arguments of the same call.
        state: What the file would have given to `__setstate__`, as it is; see `attributes`.
        entries: (key, value) pairs, for a class that is a mapping.
        elements: Values, for a class that is a list.
    """

    __slots__ = ("args", "elements", "entries", "kwargs", "state")
    class_name: ClassVar[str] = ""

    args: tuple[object, ...]
    kwargs: dict[str, object]
    state: object
    entries: list[tuple[object, object]]
    elements: list[object]

    def __new__(cls, *args: object, **kwargs: object) -> Record:
        """Keep the arguments; nothing of the named class is called."""
        made = super().__new__(cls)
        made.args, made.kwargs, made.state = args, kwargs, None
        made.entries, made.elements = [], []
        return made

    def __setstate__(self, state: object) -> None:
        """Keep the state by reference; no attribute is set."""
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        """Keep a mapping entry."""
        self.entries.append((key, value))

    def append(self, value: object) -> None:
        """Keep a list element."""
        self.elements.append(value)

    def extend(self, values: list[object]) -> None:
        """Keep list elements."""
        self.elements.extend(values)

    def attributes(self) -> dict[str, object]:
        """The attributes that the object would have had, or {} if its state is of another form."""
        if isinstance(self.state, dict):
            return self.state
        if isinstance(self.state, tuple) and self.state and isinstance(self.state[0], dict):
            return self.state[0]
        return {}


def record_class(class_name: str) -> type[Record]:
    """A new subclass of `Record` for one class name.

    Args:
        class_name: Full dotted name as the file gives it; it is only kept.
    """
    return type("NamedRecord", (Record,), {"class_name": class_name, "__slots__": ()})


class OrderedItems(dict[object, object]):
    """A `collections.OrderedDict` of the file; its state (torch's `_metadata`) is dropped."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Drop the state."""


@dataclass(frozen=True, eq=False)
class DtypeName(Sealed):
    """A torch dtype by name, e.g. "float16"; the element type of a storage class too."""

    name: str


@dataclass(frozen=True, eq=False)
class StorageRef(Sealed):
    """Where the numbers of a tensor lie.

    Attributes:
        key: Name of the entry in the archive's data folder.
        dtype: Element type by torch name.
        n_elements: Length in elements of `dtype`.
    """

    key: str
    dtype: str
    n_elements: int


@dataclass(frozen=True, eq=False)
class TensorRecord(Sealed):
    """A tensor that was not yet built. Offset and strides are in elements, as in torch.

    Attributes:
        storage: Where its numbers lie.
        dtype: Element type by torch name; differs from the storage's only for untyped storages.
        offset: First element.
        size: Shape.
        stride: One step per dimension.
    """

    storage: StorageRef
    dtype: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Call(Sealed):
    """A function of ours that stands for one the file names, with its work charged to a budget."""

    __slots__ = ("_budget", "function")

    def __init__(self, function: Callable[..., object], budget: Budget) -> None:
        """Wrap `function`; every call costs one unit plus the length of its arguments."""
        self.function = function
        self._budget = budget

    def __call__(self, *args: object) -> object:
        """Call the function of ours."""
        self._budget.charge(1 + sum(len(arg) for arg in args if isinstance(arg, Sized)))
        return self.function(*args)
