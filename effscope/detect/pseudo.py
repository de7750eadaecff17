"""Labels without a person: what a detector finds becomes the truth, so AP is agreement with this detector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from effscope.config import EvalConfig
from effscope.data.digest import digest_of
from effscope.detect.bank import Bank, bank_inputs
from effscope.detect.letterbox import letterbox
from effscope.detect.predict import CONVENTIONS, detect_inputs
from effscope.errors import EffscopeError
from effscope.nn.build import Network

SURE = 0.25
"""Least score of a detection that becomes a label."""


def pseudo_labelled(bank: Bank, network: Network, device: str, batch: int) -> Bank:
    """The bank with a network's detections as its boxes and labels.

    Args:
        bank: images; their own labels are ignored.
        network: a network with the view `decoded`, of the bank's classes; the deploy form is fastest.
        device: as in `pick_device`.
        batch: images per forward pass.

    Raises:
        EffscopeError: the network finds nothing in any image.
    """
    config = EvalConfig(imgsz=bank.imgsz, batch=batch, device=device, conf=SURE)
    inputs = bank_inputs(bank, max(network.spec.info["strides"]), CONVENTIONS[config.convention].margin)
    found = dict(detect_inputs(network, inputs, config, multi_label=False))
    rows = [found[n] for n in range(len(bank.images))]
    wide = [(row.boxes[:, 2:] > row.boxes[:, :2]).all(1) for row in rows]
    samples = tuple(
        replace(sample, boxes=row.boxes[kept], labels=row.labels[kept], written=None)
        for sample, row, kept in zip(bank.dataset.samples, rows, wide, strict=True)
    )
    if not any(len(sample.boxes) for sample in samples):
        raise EffscopeError(
            f"your model finds nothing with a score of {SURE} in the {bank.dataset.split} images of "
            f"{bank.dataset.source}: without labels it must know what is in them"
        )
    boxes = []
    for sample in samples:
        fit = replace(letterbox(sample.size, bank.imgsz), pad=(0, 0))
        boxes.append(fit.forward(torch.from_numpy(np.asarray(sample.boxes, np.float32)).view(-1, 4)))
    labels = tuple(torch.from_numpy(np.asarray(sample.labels, np.int64)) for sample in samples)
    dataset = replace(bank.dataset, samples=samples, digest=digest_of(bank.dataset.classes, samples))
    return replace(bank, dataset=dataset, boxes=tuple(boxes), labels=labels)
