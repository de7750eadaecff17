"""The order of images that decides between equal scores of detections in different images."""

from __future__ import annotations

from collections.abc import Sequence

from effscope.data.sample import Key, Sample


def image_ids(samples: Sequence[Sample]) -> list[int]:
    """Numbers from 1 in the order of the images' keys, as cocoeval sorts its images; without keys, positions plus one.

    Args:
        samples: images of one data set.
    """
    keys = [sample.key for sample in samples]
    order = sorted(range(len(samples)), key=lambda n: _in_order(keys[n], n))
    ids = [0] * len(samples)
    for number, n in enumerate(order, 1):
        ids[n] = number
    return ids


def _in_order(key: Key | None, position: int) -> tuple[bool, bool, Key]:
    """Numbers in ascending order, then texts, then images without a key."""
    return key is None, isinstance(key, str), position if key is None else key
