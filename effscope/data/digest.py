"""The digest of a split: whether two runs had the same data."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from effscope.data.sample import Sample


def digest_of(classes: tuple[str, ...], samples: tuple[Sample, ...]) -> str:
    """SHA-256 of the class names and, per sample, of name, size, boxes, labels, and the pixels if they are in memory.

    Files are not read for it: the size of an image's file in bytes stands for its pixels.
    """
    digest = hashlib.sha256("\0".join(classes).encode())
    for sample in samples:
        digest.update(f"\n{sample.name}\0{sample.size}\0{len(sample.boxes)}\0".encode())
        digest.update(sample.boxes.astype("<f4").tobytes())
        digest.update(sample.labels.astype("<i8").tobytes())
        digest.update(_scoring(sample))
        if isinstance(sample.image, Path):
            digest.update(str(_bytes(sample.image)).encode())
        else:
            digest.update(np.ascontiguousarray(sample.image).data)
    return digest.hexdigest()


def _scoring(sample: Sample) -> bytes:
    """The objects that a sample is scored against, as bytes, if they are not its boxes."""
    if (truth := sample.written) is None:
        return b""
    columns = (truth.boxes.astype("<f8"), truth.labels.astype("<i8"), truth.areas.astype("<f8"), truth.ignored)
    return b"".join(column.tobytes() for column in columns)


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
