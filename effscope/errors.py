"""Errors of effscope. A message says in one line what is wrong, where, and what to do."""

from __future__ import annotations


class EffscopeError(Exception):
    """Bad input. The command line prints the message and exits with `exit_code`."""

    exit_code = 2


class NegativeAnswer(EffscopeError):
    """The input is valid, but the answer is no: e.g. the base of a search has not learned."""

    exit_code = 1


class LayerError(EffscopeError):
    """Bad input in one layer. A caller that knows the line of the layer uses `layer` and `reason`."""

    def __init__(self, message: str, layer: str, reason: str):
        super().__init__(message)
        self.layer, self.reason = layer, reason


def unknown(kind: str, value: object, choices: object) -> EffscopeError:
    """An error that names the wrong value and lists the right ones."""
    listed = ", ".join(str(c) for c in choices)  # type: ignore[attr-defined]
    return EffscopeError(f"unknown {kind} '{value}': choose one of {listed}")


def first_line(error: BaseException, printed: str = "") -> str:
    """First non-empty line of the error's message, else of `printed`; else the name of the error's class."""
    lines = (*str(error).splitlines(), *printed.splitlines())
    return next((line.strip() for line in lines if line.strip()), type(error).__name__)


_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "could not create a primitive")
"""Words in the messages of torch's allocators (GPU and host) and of oneDNN."""


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python means that memory ran out."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)


def counted(n: int, noun: str, plural: str = "") -> str:
    """A number of things in words: `1 image`, `2 images`, `2,500 boxes`; `plural` if it is not the noun with an s."""
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"
