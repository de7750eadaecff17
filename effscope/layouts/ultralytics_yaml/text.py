"""YAML text as plain values with their line numbers. No code runs; aliases and depth are limited."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import yaml

from effscope.errors import EffscopeError

MOST_CHARACTERS = 1 << 18
MOST_VALUES = 50_000
DEEPEST = 32

TAG = "tag:yaml.org,2002:"
SCALARS = frozenset(TAG + kind for kind in ("null", "bool", "int", "float", "str"))
AS_TEXT = TAG + "timestamp"


@dataclass(frozen=True)
class YamlValue:
    """A value and its line.

    Attributes:
        value: None, bool, int, float or str, a list of YamlValue, or a dict of str -> YamlValue.
        line: line number in the text, from 1.
    """

    value: Any
    line: int

    def plain(self) -> Any:
        """The value without line numbers, at all depths."""
        match self.value:
            case list() as parts:
                return [part.plain() for part in parts]
            case dict() as fields:
                return {key: part.plain() for key, part in fields.items()}
        return self.value


class _Reader:
    """Convert YAML nodes to values and count them: one line of aliases can expand to thousands of values."""

    def __init__(self, loader: yaml.SafeLoader, where: str):
        self.loader, self.where, self.count = loader, where, 0

    def fault(self, node: yaml.Node, text: str) -> EffscopeError:
        return EffscopeError(f"{self.where}, line {node.start_mark.line + 1}: {text}")

    def read(self, node: yaml.Node, depth: int = 0) -> YamlValue:
        self.count += 1
        if depth > DEEPEST:
            raise self.fault(node, f"values nested more than {DEEPEST} levels deep, or a value that contains itself")
        if self.count > MOST_VALUES:
            raise self.fault(node, f"more than {MOST_VALUES} values after aliases: this is not a model layout")
        line = node.start_mark.line + 1
        if isinstance(node, yaml.SequenceNode):
            return YamlValue([self.read(part, depth + 1) for part in node.value], line)
        if isinstance(node, yaml.MappingNode):
            return YamlValue(self._mapping(node, depth), line)
        return YamlValue(self._scalar(node), line)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, YamlValue]:
        fields: dict[str, YamlValue] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.fault(key_node, "a key must be a word or a number")
            if key_node.tag == TAG + "merge":
                raise self.fault(key_node, "'<<' is not supported: write the keys out")
            key = str(key_node.value)
            if key in fields:
                raise self.fault(key_node, f"the key '{key}' exists twice, first in line {fields[key].line}")
            fields[key] = YamlValue(self.read(value_node, depth + 1).value, key_node.start_mark.line + 1)
        return fields

    def _scalar(self, node: yaml.Node) -> Any:
        if node.tag == AS_TEXT:
            return node.value
        if node.tag not in SCALARS:
            raise self.fault(node, f"values with the tag {node.tag.removeprefix(TAG)} are not supported")
        try:
            return self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError, KeyError) as e:
            raise self.fault(node, f"not a value: {' '.join(str(e).split())[:200]}") from None


def parsed(text: str, where: str) -> YamlValue:
    """The values of a YAML text with one document.

    Args:
        text: any text.
        where: name of the text in errors, normally its path.

    Raises:
        EffscopeError: not YAML, a tag of another type, a duplicate key, or too large; the message names the line.
    """
    if len(text) > MOST_CHARACTERS:
        raise EffscopeError(
            f"{where}: {len(text)} characters are too many for a model layout (at most {MOST_CHARACTERS})"
        )
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        return YamlValue(None, 1) if node is None else _Reader(loader, where).read(node)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        place = f"{where}, line {mark.line + 1}" if mark else where
        raise EffscopeError(f"{place}: not YAML: {' '.join(str(e.problem or e.context).split())[:200]}") from None
    except yaml.YAMLError as e:
        raise EffscopeError(f"{where} is not YAML: {' '.join(str(e).split())[:200]}") from None
    except RecursionError:
        raise EffscopeError(f"{where} is nested too deeply to be a model layout") from None


def flow(value: Any, *, nested: bool = False) -> str:
    """A value as text of a YAML flow list: [-1, 1, Conv, [64, 3, 2]]."""
    match value:
        case bool():
            return str(value)
        case None:
            return "null" if nested else "None"
        case list() | tuple():
            return f"[{', '.join(flow(part, nested=True) for part in value)}]"
        case float() if math.isinf(value):
            return ".inf"
    return str(yaml.safe_dump(value, default_flow_style=True, width=1 << 20)).splitlines()[0]
