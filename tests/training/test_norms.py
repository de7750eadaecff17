"""Norms of inherited weights before a training: every head of a detector is reached."""

from __future__ import annotations

import torch
from support.golden_files import with_random_norms
from support.small_detector import coloured_squares
from torch import nn

from effscope.detect.bank import load_bank
from effscope.layouts.expand import expand
from effscope.layouts.moves import move
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import build, undecoded
from effscope.training.batches import plain_batch
from effscope.training.norms import recalibrate_on


def test_both_heads_meet_their_statistics() -> None:
    """Folded norms, as in a deployed checkpoint: afterwards training mode computes what eval mode computes."""
    network = with_random_norms(build(expand(move(layout("yolov8n", 2), "nms-free"))), 3)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)
    bank = load_bank(coloured_squares(16), 64, lambda *_: None)
    recalibrate_on(network, bank, torch.device("cpu"))
    whole, shown = undecoded(network), plain_batch(bank, range(16)).pixels(torch.device("cpu"))
    with torch.no_grad():
        wanted, found = whole.eval()(shown), whole.train()(shown)
    assert set(wanted) == {"o2m", "o2o"}
    for view in wanted:
        for a, b in zip(wanted[view], found[view], strict=True):
            assert (a - b).norm() < 0.05 * (a - a.mean((0, 2, 3), keepdim=True)).norm()
