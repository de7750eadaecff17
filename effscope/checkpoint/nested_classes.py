"""Pickles with classes inside classes and members of enums, which protocols below 4 write as calls of `getattr`."""

from __future__ import annotations

from effscope.checkpoint.pickled import reader
from effscope.checkpoint.pickled.policy import GETATTR, nested_class, refusal
from effscope.checkpoint.pickled.records import Record, SafeFunction


def load_records(raw: bytes) -> object:
    """As `reader.load_records`, and `getattr(Outer, "Inner")` is an inert class of the name "Outer.Inner".

    Raises:
        EffscopeError: The pickle is damaged, or refused by `policy`.
    """
    return reader.load_records(raw, NestedUnpickler)


class NestedUnpickler(reader.RecordUnpickler):
    """The unpickler without access to anything, with names inside classes. They are joined, nothing is looked up."""

    def find_class(self, module: str, name: str, /) -> object:
        """An inert object for a name.

        Raises:
            EffscopeError: The name makes or runs code.
        """
        if f"{module}.{name}" in GETATTR:
            return SafeFunction(self._inside, self._budget)
        return super().find_class(module, name)

    def _inside(self, owner: object, name: object) -> object:
        """The inert class of a name inside an inert class.

        Raises:
            EffscopeError: The owner is not an inert class, or the name is no name of a class.
        """
        if not (isinstance(owner, type) and issubclass(owner, Record) and type(name) is str):
            raise refusal("builtins.getattr")
        nested_class(owner.class_name, name)
        inner = self.find_class(owner.class_name, name)
        if not (isinstance(inner, type) and issubclass(inner, Record)):
            raise refusal("builtins.getattr")
        return inner
