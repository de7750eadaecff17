"""The one entry to data: `load`, over one table of formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from effscope.data.check import check_listing
from effscope.data.coco import is_coco, list_coco
from effscope.data.record import Ledger, Listing
from effscope.data.sample import DataSet
from effscope.data.shapes import is_shapes, list_shapes
from effscope.data.voc import is_voc, list_voc
from effscope.data.yolo import is_yolo, list_yolo
from effscope.errors import EffscopeError


@dataclass(frozen=True)
class Format:
    """A data set layout.

    Attributes:
        name: also the prefix that forces it, `voc:FOLDER`.
        recognise: whether what the user named is of this layout; looks, does not parse.
        listing: (data, split, seed, ledger) -> the split's classes and records.
    """

    name: str
    recognise: Callable[[str], bool]
    listing: Callable[[str, str, int, Ledger], Listing]


FORMATS: tuple[Format, ...] = (  # the first that recognises its own reads it
    Format("builtin", is_shapes, list_shapes),
    Format("coco", is_coco, list_coco),
    Format("yolo", is_yolo, list_yolo),
    Format("voc", is_voc, list_voc),  # last: any XML below the folder will do
)


def load(data: str, split: str, limit: int | None = None, seed: int = 0) -> DataSet:
    """Read one split of a data set, check it, and say what was wrong.

    load("data.yaml", "train")             a YOLO data set
    load("bccd", "val")                    a folder: COCO, else YOLO, else VOC, by what is in it
    load("voc:bccd", "val")                a folder that holds several layouts, read as VOC
    load("builtin:shapes", "train", 64)    the first 64 drawn pictures

    Only headers of pictures are read; `read_image` gives the pixels.

    Args:
        data: a YOLO `data.yaml`, a COCO or VOC folder, or `builtin:shapes`; `FORMAT:PATH` forces a layout.
        split: "train", "val" or "test"; "valid" (and for "val" also "test") stands in for a missing one, noted in
            the faults.
        limit: the first so many usable images of the split, in the set's own order; None = all.
        seed: of `builtin:shapes`, and of the 80/20 split of a VOC folder that states none. Keep it fixed
            where runs are compared.

    Raises:
        EffscopeError: nothing there, no layout recognised, the split unknown, or nothing usable in it.
    """
    if limit is not None and limit < 1:
        raise EffscopeError(f"limit is {limit}: ask for at least one image")
    layout, place = _find_format(data)
    ledger = Ledger()
    return check_listing(data, split, layout.listing(place, split, seed, ledger), ledger, limit)


def _find_format(data: str) -> tuple[Format, str]:
    """The layout of what the user named, and the name without a forcing prefix."""
    prefix, colon, rest = data.partition(":")
    forced = next((layout for layout in FORMATS if colon and layout.name == prefix), None)
    if forced is not None and forced.name == "builtin":
        return forced, data
    place = str(Path(rest if forced else data).expanduser())
    if not Path(place).exists():
        raise EffscopeError(
            f"data set '{data}' does not exist: name a YOLO data.yaml, a COCO or VOC folder, or builtin:shapes"
        )
    for layout in [forced] if forced else FORMATS:
        if layout.recognise(place):
            return layout, place
    tried = forced.name if forced else ", ".join(layout.name for layout in FORMATS[1:])
    raise EffscopeError(
        f"'{data}' is no data set that effscope knows (tried {tried}): name a YOLO data.yaml, a COCO folder with "
        "train.json and val.json, or a VOC folder with XML files"
    )
