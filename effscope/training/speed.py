"""How fast this machine trains a network, measured in a second or two, to say beforehand how long a run takes."""

from __future__ import annotations

import copy
import time

import torch

from effscope.nn.build import Network, view
from effscope.nn.precision import amp, pick_device

TIMED_STEPS = 2


def training_images_per_s(network: Network, imgsz: int, batch: int, device: str) -> float:
    """Images per second through forward and backward pass; reading, augmentation and assignment are left out.

    Args:
        network: not changed.
        imgsz: side of the image in px.
        batch: images per step.
        device: as in `pick_device`.
    """
    place = pick_device(device)
    whole = copy.deepcopy(network).to(place).train()
    whole.to(memory_format=torch.channels_last)
    raw = view(whole, *(name for name in whole.spec.views if name != "decoded"))
    images = torch.zeros(batch, 3, imgsz, imgsz, device=place).to(memory_format=torch.channels_last)
    began = 0.0
    for step in range(1 + TIMED_STEPS):
        if step == 1:
            began = time.perf_counter()
        with amp(place):
            views = raw(images)
        loss = torch.stack([level.float().mean() for levels in views.values() for level in levels]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        if place.type == "cuda":
            torch.cuda.synchronize(place)
    return batch * TIMED_STEPS / (time.perf_counter() - began)
