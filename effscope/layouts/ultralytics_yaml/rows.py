"""The rows of a layout file: [from, repeats, module, args]."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from effscope.errors import EffscopeError
from effscope.layouts.blocks.table import BLOCKS
from effscope.layouts.ultralytics_yaml.tables import MAY_BE_NONE, SAME_ARGUMENTS, block_named, detect_read, rule_at
from effscope.layouts.ultralytics_yaml.top import LARGEST, TopLevel
from effscope.spec.layout import IMAGE, Layer

MOST_REPEATS, LONGEST_WORD = 1000, 100


def layer(top: TopLevel, n: int) -> Layer:
    """The layer of row n; its id and its sources are positions. Raises EffscopeError with the line."""
    match top.rows[n].plain():
        case [source, int() as repeats, str() as module, list() as args] if not isinstance(repeats, bool):
            pass
        case row:
            raise top.in_layer(n, f"a layer is [from, repeats, module, args], got {row!r:.200}")
    try:
        if repeats > MOST_REPEATS or top.scale.repeats(repeats) > MOST_REPEATS:
            raise EffscopeError(f"at most {MOST_REPEATS} repeats, got {repeats} times depth {top.scale.depth}")
        block = block_named(module)
        read = _args(top, module, block, args)
        sources = _sources(source, n, module, many=BLOCKS[block].many)
    except EffscopeError as e:
        raise top.in_layer(n, e) from None
    return Layer(str(n), block, read, sources, repeats, origin=str(n))


def _sources(source: Any, n: int, module: str, *, many: bool) -> tuple[str, ...]:
    if isinstance(source, list) != many:
        raise EffscopeError(f"{module} reads {'a list of layers' if many else 'one layer'}, got 'from' {source!r:.100}")
    listed = source if many else [source]
    for s in listed:
        if not isinstance(s, int) or isinstance(s, bool):
            raise EffscopeError(f"'from' is a number or a list of numbers, got {source!r:.100}")
        if n == 0 and s != -1:
            raise EffscopeError(f"the first layer reads the image: its 'from' must be -1, got {s}")
        if not -n <= s < n and n:
            raise EffscopeError(f"'from' names layer {s}: before layer {n} there are 0 to {n - 1}, or -1 to {-n}")
    return tuple(IMAGE if n == 0 else str(s % n) for s in listed)


def _args(top: TopLevel, module: str, block: str, args: list[Any]) -> tuple[Any, ...]:
    """The arguments of effscope's block: names are replaced by values, the `ScaleRule` is applied."""
    known = {
        "nc": top.nc, "depth": top.scale.depth, "width": top.scale.width, "max_channels": top.scale.max_channels,
    }  # fmt: skip
    read = tuple(_frozen(_word(arg, known)) for arg in args)
    if len(read) > SAME_ARGUMENTS.get(block, len(read)):
        raise EffscopeError(
            f"{module} with more than {SAME_ARGUMENTS[block]} arguments cannot be read, got {args!r:.200}"
        )
    names = BLOCKS[block].arguments
    for name, value in zip(names, read, strict=False):
        if value is None and (block, name) not in MAY_BE_NONE:
            raise EffscopeError(f"{module}: '{name}' cannot be None")
        if name == "nc" and value != top.nc:
            raise EffscopeError(f"{module} has {value!r} classes, the file has nc: {top.nc}; write [nc]")
    if BLOCKS[block].head and not read:
        raise EffscopeError(f"{module} takes [nc], got nothing")
    if block == "Detect":
        return detect_read(module, set(_modules(top)), top.end2end, top.reg_max)
    rule = rule_at(block, top.letter)
    read = tuple("nc" if name == "nc" else value for value, name in zip_longest(read, names[: len(read)]))
    return rule.read(read) if rule else read


def _modules(top: TopLevel) -> Iterator[str]:
    for row in top.rows:
        if isinstance(row.value, list) and len(row.value) > 2:  # noqa: PLR2004
            yield str(row.value[2].value)


def _word(value: Any, known: Mapping[str, Any]) -> Any:
    """An argument. A string may name a number in the file or be a Python literal; else it stays a string."""
    if not isinstance(value, str) or len(value) > LONGEST_WORD:
        return value
    if value in known:
        return known[value]
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return value


def _frozen(value: Any) -> Any:
    """Lists as tuples. Raises EffscopeError for numbers above LARGEST and for other types."""
    match value:
        case list() | tuple():
            return tuple(_frozen(part) for part in value)
        case bool() | None | str():
            return value
        case int() | float() if abs(value) <= LARGEST:
            return value
    raise EffscopeError(f"{value!r:.100} is not an argument of a block")
