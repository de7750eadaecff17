"""Images without labels: a plain folder, or a data set whose labels are left out.

In a plain folder every fifth image is for validation, unless folders name both splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from effscope.data.digest import digest_of
from effscope.data.pictures import images_under
from effscope.data.record import SPLIT_ALIASES, Fault, Ledger, Listing, Record
from effscope.data.sample import DataSet
from effscope.errors import EffscopeError

BOTH = ("train", "val")

VAL_EVERY = 5
"""One of this many images is for validation, in a folder without folders for the splits."""

IMAGE_FAULTS = frozenset(
    fault.value
    for fault in (
        Fault.FOUND_BELOW, Fault.OTHER_SPLIT, Fault.HIDDEN, Fault.UNKNOWN_SUFFIX, Fault.LISTED_TWICE, Fault.SHARED_ID,
        Fault.MISSING_IMAGE, Fault.UNREADABLE_IMAGE, Fault.FILLED, Fault.EXIF_TURNED,
    )
)  # fmt: skip
"""Faults that do not concern labels."""


def is_folder(data: str) -> bool:
    """Whether `data` is a folder with at least one image."""
    return Path(data).is_dir() and bool(images_under(Path(data), Ledger()))


def split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits, in the folder or in its `images`; empty if train and val are not both there."""
    for parent in (root, root / "images"):
        folders = {path.name.lower(): path for path in parent.iterdir() if path.is_dir()} if parent.is_dir() else {}
        spelled = {split: next(filter(folders.get, (split, *SPLIT_ALIASES[split])), "") for split in BOTH}
        if all(spelled.values()):
            return {split: folders[name] for split, name in spelled.items()}
    return {}


def list_folder(data: str, split: str, _: int, ledger: Ledger) -> Listing:
    """The images of one split, without boxes and without classes.

    Raises:
        EffscopeError: no image is left for this split.
    """
    root, named = Path(data), split_folders(Path(data))
    if split in named:
        images = images_under(named[split], ledger)
    else:
        found = images_under(root, ledger)
        images = [path for n, path in enumerate(found) if (n % VAL_EVERY == VAL_EVERY - 1) == (split != "train")]
    if not images:
        reason = f"{named[split]} is empty" if split in named else f"at least {VAL_EVERY} images are needed"
        raise EffscopeError(f"'{data}' has no image for the split '{split}': {reason}")

    def read(paths: Sequence[Path]) -> Iterator[Record]:
        for path in paths:
            yield Record(path, path.relative_to(root).as_posix(), np.zeros((0, 4)), np.zeros(0, np.int64))

    return Listing((), images, read)


def without_labels(dataset: DataSet, classes: tuple[str, ...]) -> DataSet:
    """The images of a split, without boxes, with these classes and only the faults of images."""
    samples = tuple(
        replace(sample, boxes=sample.boxes[:0], labels=sample.labels[:0], written=None) for sample in dataset.samples
    )
    kept = {kind for kind in dataset.faults if kind in IMAGE_FAULTS}
    return replace(
        dataset,
        classes=classes,
        samples=samples,
        faults=Counter({kind: dataset.faults[kind] for kind in kept}),
        examples={kind: shown for kind, shown in dataset.examples.items() if kind in kept},
        digest=digest_of(classes, samples),
        category_ids={},
    )
