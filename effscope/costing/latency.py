"""Measured time of one forward pass in deploy form, several networks side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median

import torch

from effscope.nn.build import Network
from effscope.nn.fuse import deploy
from effscope.nn.precision import pick_device

WARM_UP = 5


@torch.inference_mode()
def forward_ms(networks: Mapping[str, Network], imgsz: int, device: str = "auto", rounds: int = 40) -> dict[str, float]:
    """Median time in ms of one image through each network, post-processing left out, float32.

    The networks take turns, so that a busy moment of the machine hits all of them.

    Args:
        networks: name -> network; measured in deploy form, the originals are untouched.
        imgsz: side of the image in px.
        device: as in `pick_device`.
        rounds: timed passes of each network.
    """
    place = pick_device(device)
    image = torch.rand(1, 3, imgsz, imgsz, device=place)
    ready = {name: deploy(network).to(place) for name, network in networks.items()}
    times: dict[str, list[float]] = {name: [] for name in ready}
    for turn in range(WARM_UP + rounds):
        for name, network in ready.items():
            began = time.perf_counter()
            network(image)
            if place.type == "cuda":
                torch.cuda.synchronize(place)
            if turn >= WARM_UP:
                times[name].append(1000 * (time.perf_counter() - began))
    return {name: median(values) for name, values in times.items()}
