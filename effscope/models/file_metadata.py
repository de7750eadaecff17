"""The metadata in effscope's own weights files, so that a file can be opened without a separate layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from effscope.spec.layout import Layout

LAYOUT_KEY, CLASSES_KEY, IMGSZ_KEY = "effscope.layout", "effscope.classes", "effscope.imgsz"


@dataclass(frozen=True)
class FileMetadata:
    """Metadata of a weights file: layout, class names, and the image side of the training in px."""

    layout: Layout
    classes: tuple[str, ...] | None
    imgsz: int | None


def metadata(layout: Layout, classes: tuple[str, ...] | None, imgsz: int) -> dict[str, str]:
    """The metadata of a weights file as strings, for a safetensors header."""
    return {
        "format": "pt",
        LAYOUT_KEY: json.dumps(layout.to_dict()),
        CLASSES_KEY: json.dumps(list(classes) if classes else None),
        IMGSZ_KEY: str(imgsz),
    }


def read_metadata(texts: Mapping[str, str]) -> FileMetadata | None:
    """Parse the metadata of a weights file; None if effscope did not write the file."""
    if LAYOUT_KEY not in texts:
        return None
    return FileMetadata(
        Layout.from_dict(json.loads(texts[LAYOUT_KEY])),
        tuple(json.loads(texts.get(CLASSES_KEY, "null")) or ()) or None,
        int(texts.get(IMGSZ_KEY, "0")) or None,
    )
