"""Pickles with classes inside classes and members of enums, which protocols below 4 write as calls of `getattr`."""

from __future__ import annotations

from effscope.checkpoint.pickled.policy import GETATTR, check_pickle, nested_class, refusal
from effscope.checkpoint.pickled.reader import RecordUnpickler
from effscope.checkpoint.pickled.records import Record, SafeFunction
from effscope.errors import EffscopeError


def load_records(raw: bytes) -> object:
    """As `reader.load_records`, and `getattr(Outer, "Inner")` is an inert class of the name "Outer.Inner".

    Raises:
        EffscopeError: The pickle is damaged, or refused by `policy`.
    """
    try:
        check_pickle(raw)
        return NestedUnpickler(raw).load()
    except (EffscopeError, MemoryError):
        raise
    except RecursionError as error:
        raise EffscopeError("its pickle is nested too deeply for a checkpoint: re-save only the state dict") from error
    except Exception as error:  # a damaged pickle may raise any error (Python's documentation)
        raise EffscopeError(f"its pickle is damaged ({type(error).__name__}): download or save it again") from error


class NestedUnpickler(RecordUnpickler):
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
