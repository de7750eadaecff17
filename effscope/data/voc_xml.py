"""One XML file of a VOC data set: any encoding that Python knows, with or without a namespace."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from effscope.data.record import is_set

CORNERS = ("xmin", "ymin", "xmax", "ymax")
SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc-kr": "cp949"}
"""Encodings whose files often have letters of a larger one."""

_DECLARATION = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["'][^>]*\?>""")
_UNICODE = re.compile(r"utf|ucs", re.IGNORECASE)


@dataclass(frozen=True)
class Object:
    """A box of an XML file: class name, xyxy px, and whether the file says that it is difficult."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class Annotation:
    """One XML file.

    Attributes:
        objects: its boxes; an object with several boxes is there several times.
        broken: objects without a valid box, for messages.
        declared: (width, height) of the image in px; None if the file does not have it.
    """

    objects: tuple[Object, ...]
    broken: tuple[str, ...]
    declared: tuple[int, int] | None


NO_ANNOTATION = Annotation((), (), None)


def read_annotation(path: Path) -> Annotation | str:
    """The boxes of an XML file, or what is wrong with it. A file that declares entities is refused, not expanded."""
    try:
        text = _utf8(path.read_bytes())
        _refuse_entities(text)
        tree = ElementTree.fromstring(text)
    except (OSError, ValueError, LookupError, ElementTree.ParseError, expat.ExpatError) as error:
        return str(error) or type(error).__name__
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2].lower()
    objects: list[Object] = []
    broken: list[str] = []
    for number, item in enumerate(tree.iter("object"), start=1):
        name = (item.findtext("name") or "").strip()
        difficult = is_set(item.findtext("difficult"))
        for bounds in item.findall("bndbox") or [item]:
            texts = [bounds.findtext(corner) or "" for corner in CORNERS]
            try:
                x1, y1, x2, y2 = map(float, texts)
            except ValueError:
                broken.append(f"object {number} '{name}' {texts}")
            else:
                objects.append(Object(name, (x1, y1, x2, y2), difficult))
    return Annotation(tuple(objects), tuple(broken), _declared(tree))


def _utf8(data: bytes) -> bytes:
    """The file in UTF-8 if it declares an encoding that is not a form of Unicode: expat knows only a few of them."""
    found = _DECLARATION.match(data)
    encoding = found.group(1).decode("ascii").lower() if found else "utf-8"
    if found is None or _UNICODE.match(encoding):
        return data
    return data[found.end() :].decode(SUPERSETS.get(encoding, encoding)).encode()


def _refuse_entities(text: bytes) -> None:
    """Raise ValueError at the first entity declaration, before anything is expanded."""

    def refuse(*_: Any) -> None:
        raise ValueError("it declares XML entities, which annotations do not need")

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    parser.Parse(text, True)


def _declared(tree: ElementTree.Element) -> tuple[int, int] | None:
    try:
        return int(float(tree.findtext("size/width") or "")), int(float(tree.findtext("size/height") or ""))
    except (ValueError, OverflowError):
        return None
