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
    """What else decides the scores of a sample, as bytes: areas other than those of the boxes, ignored regions."""
    areas = b"" if sample.areas is None else sample.areas.astype("<f8").tobytes()
    if sample.ignored is None:
        return areas
    return areas + sample.ignored.boxes.astype("<f4").tobytes() + sample.ignored.labels.astype("<i8").tobytes()


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
