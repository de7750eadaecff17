"""Inert values for the classes and functions that a pickle names, so that reading a pickle runs no code.

A pickle can reach only plain data and objects of this file. It can call an object, set its state (opcode BUILD) and
add items to it. The classes below store these values, or raise EffscopeError.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import ClassVar

from effscope.errors import EffscopeError


class Budget:
    """The amount of work that one file may cause. It stops files that reuse shared references many times."""

    def __init__(self, n_units: int) -> None:
        """Allow `n_units` values to be read or copied."""
        self._left = n_units

    def charge(self, n_units: int) -> None:
        """Use `n_units`.

        Raises:
            EffscopeError: The budget is used up.
        """
        self._left -= n_units
        if self._left < 0:
            raise EffscopeError("the pickle expands to far more data than its size: do not use it")


class Sealed:
    """A value that a pickle cannot change."""

    def __setstate__(self, state: object) -> None:
        """Refuse the opcode BUILD.

        Raises:
            EffscopeError: Always.
        """
        raise EffscopeError(f"the pickle overwrites a {type(self).__name__}, unlike any checkpoint: do not use it")


class Record:
    """An object of a class that is not imported.

    `record_class` makes a subclass for each class name; `Record` itself has no instances.

    Attributes:
        class_name: Full dotted name in the file, e.g. "ultralytics.nn.modules.block.C2f".
        args: Positional arguments for the class in the file.
        kwargs: Keyword arguments for the class in the file.
        state: Argument of `__setstate__` in the file, unchanged; see `attributes`.
        entries: (key, value) pairs, if the class is a mapping.
        elements: Values, if the class is a list.
    """

    __slots__ = ("args", "elements", "entries", "kwargs", "state")
    class_name: ClassVar[str] = ""

    args: tuple[object, ...]
    kwargs: dict[str, object]
    state: object
    entries: list[tuple[object, object]]
    elements: list[object]

    def __new__(cls, *args: object, **kwargs: object) -> Record:
        """Store the arguments and call nothing."""
        made = super().__new__(cls)
        made.args, made.kwargs, made.state = args, kwargs, None
        made.entries, made.elements = [], []
        return made

    def __setstate__(self, state: object) -> None:
        """Store a reference to the state and set no attribute."""
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        """Store a mapping entry."""
        self.entries.append((key, value))

    def append(self, value: object) -> None:
        """Store a list element."""
        self.elements.append(value)

    def extend(self, values: list[object]) -> None:
        """Store list elements."""
        self.elements.extend(values)

    def attributes(self) -> dict[str, object]:
        """The attributes of the object in the file, or {} if its state has another form."""
        if isinstance(self.state, dict):
            return self.state
        if isinstance(self.state, tuple) and self.state and isinstance(self.state[0], dict):
            return self.state[0]
        return {}


def record_class(class_name: str) -> type[Record]:
    """A new subclass of `Record` for a full dotted class name, which is only stored."""
    return type("NamedRecord", (Record,), {"class_name": class_name, "__slots__": ()})


class OrderedItems(dict[object, object]):
    """A `collections.OrderedDict` in the file. Its state (torch's `_metadata`) is dropped."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Drop the state."""


@dataclass(frozen=True, eq=False)
class DtypeName(Sealed):
    """A torch dtype by name, e.g. "float16"; also the element type of a storage class."""

    name: str


@dataclass(frozen=True, eq=False)
class StorageRef(Sealed):
    """The entry of the archive with the numbers of a tensor.

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
    """A tensor as described in the pickle. Offset and strides are in elements, as in torch.

    Attributes:
        storage: The entry with its numbers.
        dtype: Element type by torch name. It differs from that of the storage only for untyped storages.
        offset: Position of the first element.
        size: Shape.
        stride: Step in each dimension.
    """

    storage: StorageRef
    dtype: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class SafeFunction(Sealed):
    """Effscope's own version of a function that the file names. Its calls use a budget."""

    __slots__ = ("_budget", "function")

    def __init__(self, function: Callable[..., object], budget: Budget) -> None:
        """Wrap `function`. A call costs one unit plus the length of its arguments."""
        self.function = function
        self._budget = budget

    def __call__(self, *args: object) -> object:
        """Call `function`."""
        self._budget.charge(1 + sum(len(arg) for arg in args if isinstance(arg, Sized)))
        return self.function(*args)
