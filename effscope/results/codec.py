"""Convert frozen records to plain data and back: writing uses their fields, reading their type annotations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from effscope.errors import EffscopeError

KIND_KEY, VERSION_KEY = "result", "format_version"

FORMAT_VERSION = 3
"""Version of the JSON of results. Files of other versions are refused.

1: no `result` key; `origin.data` is one string, `origin.config` also holds the digest of the starting weights.
2: `result` and `format_version` come first; `origin.weights`, `origin.data` by split; spectra are saved with ranks;
   paths in `files` are relative to the file of the result.
3: a search has latencies of one and of all threads, several moves, a target, a library and a front.
"""

NONE_AS = "none_as"
"""Metadata of a field: the value to write instead of null, e.g. `{}`."""

Bound = Mapping[Any, Any]
"""Type variable -> the actual type."""


def plain(value: Any, key: str = "") -> Any:
    """Convert a value to dicts, tuples, numbers, strings and None; a result begins with its kind and format version.

    Raises:
        EffscopeError: NaN or infinity, which JSON does not have; the message names the key.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {**_tags(type(value)), **{f.name: _plain_field(value, f, key) for f in fields(value)}}
    if isinstance(value, Mapping):
        return {name: plain(part, _below(key, name)) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return tuple(plain(part, f"{key}[{n}]") for n, part in enumerate(value))
    if isinstance(value, float) and not isfinite(value):
        raise EffscopeError(f"`{key}` is {value}: JSON has finite numbers only, so the result cannot be saved")
    return value


def _plain_field(record: Any, field: Field[Any], key: str) -> Any:
    value = getattr(record, field.name)
    if value is None and NONE_AS in field.metadata:
        return field.metadata[NONE_AS]
    return plain(value, _below(key, field.name))


def _tags(kind: type) -> dict[str, Any]:
    name = getattr(kind, "KIND", "")
    return {KIND_KEY: name, VERSION_KEY: FORMAT_VERSION} if name else {}


def _below(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def read(kind: Any, value: Any, key: str = "", bound: Bound | None = None) -> Any:
    """The inverse of `plain`; also accepts data read from JSON.

    Args:
        kind: the expected type: a frozen dataclass, `tuple[X, ...]`, `tuple[X, Y]`, `dict[str, X]`, `X | None`,
            `Literal`, a type variable in `bound`, int, float, str, bool or None.
        value: plain data.
        key: path of the value, for messages.
        bound: actual types for the type variables of a generic record.

    Raises:
        EffscopeError: a value of another type, a missing or an unknown key, another kind of result, another format
            version; the message names the key.
    """
    kind = (bound or {}).get(kind, kind)
    home, parts = get_origin(kind) or kind, get_args(kind)
    if is_dataclass(home):
        assert isinstance(home, type)
        return _record(home, parts, value, key)
    reader = _READERS.get(home)
    if reader is None:
        raise TypeError(f"results cannot hold {kind} (`{key}`)")
    return reader(parts, value, key, bound or {})


def kind_of(data: Any, key: str = "", expected: str = "a result") -> str:
    """The kind of result in plain data.

    Raises:
        EffscopeError: the data are not a result, or have another format version.
    """
    where = f"`{key}` holds" if key else "it holds"
    if not isinstance(data, Mapping):
        raise EffscopeError(f"{where} {_shown(data)}, expected {expected}: give a file that `save` or a command wrote")
    kind, version = data.get(KIND_KEY), data.get(VERSION_KEY)
    if kind is None and isinstance(data.get("origin"), Mapping) and VERSION_KEY in data["origin"]:
        kind, version = "saved", data["origin"][VERSION_KEY]  # format 1
    if kind is None:
        raise EffscopeError(
            f"{where} no '{KIND_KEY}' key, expected {expected}: give a file that `save` or a command wrote"
        )
    if version != FORMAT_VERSION:
        said = f"no {VERSION_KEY}" if version is None else f"{VERSION_KEY} {_shown(version)}"
        raise EffscopeError(
            f"{where} a {kind} result with {said}, expected {FORMAT_VERSION}: "
            "run the command again, or open it with the effscope version that wrote it"
        )
    return str(kind)


def check_kind(kind: str, data: Any, key: str = "") -> None:
    """Raises EffscopeError unless the data are a result of that kind, in the current format version."""
    found = kind_of(data, key, f"a {kind} result")
    if found != kind:
        where = f"`{key}` holds" if key else "it holds"
        raise EffscopeError(
            f"{where} a result of kind '{found}', expected a {kind} result: `load_result` opens any kind"
        )


def _record(kind: type, parts: tuple[Any, ...], value: Any, key: str) -> Any:
    name = getattr(kind, "KIND", "")
    if name:
        check_kind(name, value, key)
    if not isinstance(value, Mapping):
        raise _wrong(key, f"the fields of {kind.__name__}", value)
    known = {f.name: f for f in fields(kind)}
    unknown = [k for k in value if k not in known and not (name and k in {KIND_KEY, VERSION_KEY})]
    if unknown:
        raise EffscopeError(f"unknown key `{_below(key, unknown[0])}`: {kind.__name__} has {', '.join(known)}")
    missing = [
        n for n, f in known.items() if n not in value and f.default is MISSING and f.default_factory is MISSING
    ]  # fmt: skip
    if missing:
        raise EffscopeError(f"missing key `{_below(key, missing[0])}` of {kind.__name__}")
    hints = _hints(kind)
    bound = dict(zip(getattr(kind, "__parameters__", ()), parts, strict=False))
    given = {n: _field(f, hints[n], value[n], _below(key, n), bound) for n, f in known.items() if n in value}
    return kind(**given)


def _field(field: Field[Any], kind: Any, value: Any, key: str, bound: Bound) -> Any:
    if NONE_AS in field.metadata and value == field.metadata[NONE_AS]:
        return None
    return read(kind, value, key, bound)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _union(parts: tuple[Any, ...], value: Any, key: str, bound: Bound) -> Any:
    """Read the value as the first type that fits."""
    if value is None and NoneType in parts:
        return None
    kinds = [part for part in parts if part is not NoneType]
    for kind in kinds[:-1]:
        try:
            return read(kind, value, key, bound)
        except EffscopeError:
            continue
    return read(kinds[-1], value, key, bound)


def _tuple(parts: tuple[Any, ...], value: Any, key: str, bound: Bound) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(key, "a list", value)
    kinds = parts[:1] * len(value) if parts[1:] == (...,) else parts
    if len(kinds) != len(value):
        raise _wrong(key, f"a list of {len(kinds)}", value)
    return tuple(
        read(kind, part, f"{key}[{n}]", bound) for n, (kind, part) in enumerate(zip(kinds, value, strict=True))
    )


def _dict(parts: tuple[Any, ...], value: Any, key: str, bound: Bound) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(key, "an object", value)
    return {str(name): read(parts[1], part, _below(key, name), bound) for name, part in value.items()}


def _literal(parts: tuple[Any, ...], value: Any, key: str, bound: Bound) -> Any:
    if value not in parts:
        raise _wrong(key, f"one of {', '.join(map(str, parts))}", value)
    return value


def _scalar(words: str, fits: Callable[[Any], bool]) -> Callable[[tuple[Any, ...], Any, str, Bound], Any]:
    def check(parts: tuple[Any, ...], value: Any, key: str, bound: Bound) -> Any:
        if not fits(value):
            raise _wrong(key, words, value)
        return value

    return check


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


_READERS: dict[Any, Callable[[tuple[Any, ...], Any, str, Bound], Any]] = {
    Union: _union,
    UnionType: _union,
    tuple: _tuple,
    dict: _dict,
    Literal: _literal,
    NoneType: _scalar("null", lambda value: value is None),
    bool: _scalar("true or false", lambda value: isinstance(value, bool)),
    int: _scalar("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    float: _scalar("a number", _is_number),
    str: _scalar("a text", lambda value: isinstance(value, str)),
}
"""Type in an annotation -> its reader."""

MOST_SHOWN = 40


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."


def _wrong(key: str, expected: str, value: Any) -> EffscopeError:
    return EffscopeError(f"key `{key}` is {_shown(value)}, expected {expected}")
