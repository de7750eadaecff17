"""The two splits that a training works on: listed first, decoded when somebody needs pixels."""

from __future__ import annotations

from effscope.data.check import check_boxes, say_faults
from effscope.data.classes import matched
from effscope.data.load import load
from effscope.data.sample import DataSet
from effscope.detect.bank import Banks, load_bank
from effscope.progress import Progress, Say

Splits = tuple[DataSet, DataSet]
"""Train and validation split."""


def load_splits(data: str, limit_train: int | None, limit_val: int | None, say: Say) -> Splits:
    """Both splits as listed; image headers are read, pixels are not. Validation labels index the train classes.

    Raises:
        EffscopeError: no data, or no class in common.
    """
    train, val = load(data, "train", limit_train), load(data, "val", limit_val)
    return train, matched(val, train.classes, "the training split", say)


def decode(splits: Splits, imgsz: int, progress: Progress, say: Say) -> Banks:
    """Both splits decoded at an image side in px; says what is wrong with them, one line per kind of fault.

    Raises:
        EffscopeError: a split in which no image can be decoded, or without a box.
    """
    banks = Banks(*(load_bank(split, imgsz, lambda _, text: progress(0.0, text)) for split in splits))
    for bank in (banks.train, banks.val):
        say_faults(check_boxes(bank.dataset), say)
    return banks
