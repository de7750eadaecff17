"""Batch norms of inherited weights, before a training: in the statistics of the images that the training will show."""

from __future__ import annotations

import torch

from effscope.detect.bank import Bank, limited_bank
from effscope.nn.build import Network, undecoded
from effscope.nn.statistics import recalibrate
from effscope.training.batches import plain_batch

IMAGES, BATCH = 128, 16
"""Largest number of images, evenly spread, and images in one forward pass."""


def recalibrate_on(network: Network, bank: Bank, device: torch.device) -> None:
    """`recalibrate` a detector on images of a bank, in place: what it computes in eval mode does not change."""
    few = limited_bank(bank, IMAGES)
    n = len(few.images)
    cuts = (range(first, min(first + BATCH, n)) for first in range(0, n, BATCH))
    recalibrate(undecoded(network).to(device), ((plain_batch(few, cut).pixels(device),) for cut in cuts))
