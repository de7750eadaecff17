"""The two splits of a training: listed first, decoded later, when pixels are needed."""

from __future__ import annotations

from effscope.data.check import check_boxes, say_faults
from effscope.data.classes import matched
from effscope.data.load import load
from effscope.data.sample import DataSet
from effscope.detect.bank import Banks, load_bank
from effscope.progress import Progress, Say, silent

Splits = tuple[DataSet, DataSet]
"""Train and validation split."""


def load_splits(
    data: str, limit_train: int | None, limit_val: int | None, say: Say, progress: Progress = silent
) -> Splits:
    """List both splits; reads image headers, not pixels. Validation labels index the train classes.

    Raises:
        EffscopeError: no data, or no common class.
    """

    def tell(_: float, text: str) -> None:
        progress(0.0, text)

    train, val = load(data, "train", limit_train, progress=tell), load(data, "val", limit_val, progress=tell)
    return train, matched(val, train.classes, "the training split", say)


def decode(splits: Splits, imgsz: int, progress: Progress, say: Say) -> Banks:
    """Decode both splits at an image side in px; reports faults, one line per kind.

    Raises:
        EffscopeError: in a split no image can be decoded, or no box is left.
    """
    banks = Banks(*(load_bank(split, imgsz, lambda _, text: progress(0.0, text)) for split in splits))
    for bank in (banks.train, banks.val):
        say_faults(check_boxes(bank.dataset), say)
    return banks
