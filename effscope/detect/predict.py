"""Detect objects: from images to detections in px of each image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import batched_nms

from effscope.config import EvalConfig
from effscope.detect.boxes import xywh_to_xyxy
from effscope.detect.letterbox import Letterbox, letterbox, letterboxed
from effscope.errors import ran_out_of_memory
from effscope.nn.build import Network
from effscope.nn.precision import pick_device
from effscope.nn.preserved import eval_mode
from effscope.spec.graph import DECODED

CENTRED = "xywh"
"""Box format of heads that need non-maximum suppression; one-to-one heads have xyxy."""

MOST_CANDIDATES = 30_000
"""Maximum number of candidates per image for non-maximum suppression; the best are used."""


@dataclass(frozen=True)
class Convention:
    """How images are padded, and whether boxes are clipped.

    Attributes:
        margin: smallest padding of each side, in strides.
        clip: boxes are clipped to the image.
    """

    margin: float
    clip: bool


CONVENTIONS = {"coco": Convention(margin=0.0, clip=True), "ultralytics": Convention(margin=0.5, clip=False)}
"""Word of `EvalConfig.convention` -> Convention.

Ultralytics' `val` pads by half a stride more, and compares boxes in px of the network's input without clipping them to
the image; its saved JSON has clipped boxes.
"""


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections of one image, best first.

    Attributes:
        boxes: float32 (N, 4) xyxy in px of the image; inside the image with the convention "coco".
        scores: float32 (N,) within 0-1.
        labels: int64 (N,).
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def detect(
    network: Network, images: Iterable[NDArray[np.uint8]], config: EvalConfig, multi_label: bool = True
) -> Iterator[tuple[int, Detections]]:
    """Detect in images. Images with equal padded sizes share a batch, so results are not in order.

    Args:
        network: a network with the view `decoded`; the deploy form is fastest. Its mode is restored afterwards.
        images: uint8 (H, W, 3) RGB, read one at a time.
        config: long side, thresholds, batch, device.
        multi_label: with non-maximum suppression, every class of a box above `conf` is a candidate (for scoring);
            False: only its best class (for showing).

    Yields:
        (position of the image, its detections).
    """
    stride, margin = max(network.spec.info["strides"]), CONVENTIONS[config.convention].margin
    inputs = (_input(image, config.imgsz, stride, margin) for image in images)
    yield from detect_inputs(network, inputs, config, multi_label)


def _input(image: NDArray[np.uint8], imgsz: int, stride: int, margin: float) -> tuple[Letterbox, Tensor]:
    fit = letterbox((image.shape[1], image.shape[0]), imgsz, stride, margin)
    return fit, torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


def detect_inputs(
    network: Network, inputs: Iterable[tuple[Letterbox, Tensor]], config: EvalConfig, multi_label: bool = True
) -> Iterator[tuple[int, Detections]]:
    """Like `detect`, for letterboxes and their images, uint8 (3, h, w), scaled or not."""
    device = pick_device(config.device)
    network = network.to(device)
    waiting: dict[tuple[int, int], list[tuple[int, Letterbox, Tensor]]] = defaultdict(list)
    with eval_mode(network):
        for position, (fit, pixels) in enumerate(inputs):
            group = waiting[fit.out]
            group.append((position, fit, letterboxed(pixels, fit)))
            if len(group) == config.batch:
                yield from _detect_group(network, waiting.pop(fit.out), config, multi_label, device)
        for group in waiting.values():
            yield from _detect_group(network, group, config, multi_label, device)


@torch.inference_mode()
def _decoded(network: Network, images: Tensor) -> Tensor:
    decoded: Tensor = network(images)[DECODED][0]
    return decoded


def _detect_group(
    network: Network,
    group: list[tuple[int, Letterbox, Tensor]],
    config: EvalConfig,
    multi_label: bool,
    device: torch.device,
) -> list[tuple[int, Detections]]:
    """Detections of a group of inputs; if memory runs out, the group is split into halves."""
    found = _found(network, group, config, multi_label, device)
    if found is None:
        half = len(group) // 2
        return [
            row
            for part in (group[:half], group[half:])
            for row in _detect_group(network, part, config, multi_label, device)
        ]
    clip = CONVENTIONS[config.convention].clip
    return [(position, _in_image_px(rows, fit, clip)) for (position, fit, _), rows in zip(group, found, strict=True)]


def _found(
    network: Network,
    group: list[tuple[int, Letterbox, Tensor]],
    config: EvalConfig,
    multi_label: bool,
    device: torch.device,
) -> list[Tensor] | None:
    """Rows of `select` for each image; None if memory runs out for a group of several images."""
    try:
        images = torch.stack([pixels for _, _, pixels in group]).to(device)
        images = images.to(memory_format=torch.channels_last).float().mul_(1 / 255)
        return select(_decoded(network, images), network.spec.info["box_format"], config, multi_label)
    except (RuntimeError, MemoryError) as error:
        if len(group) == 1 or not ran_out_of_memory(error):
            raise
        return None


def _in_image_px(rows: Tensor, fit: Letterbox, clip: bool) -> Detections:
    boxes = fit.back(rows[:, :4], clip=clip)
    return Detections(
        boxes.cpu().numpy().astype(np.float32),
        rows[:, 4].cpu().numpy().astype(np.float32),
        rows[:, 5].cpu().numpy().astype(np.int64),
    )


def select(decoded: Tensor, box_format: str, config: EvalConfig, multi_label: bool = True) -> list[Tensor]:
    """Select the detections from all anchor points.

    Args:
        decoded: (B, 4 + C, A), boxes in px and class probabilities.
        box_format: "xywh" needs non-maximum suppression, "xyxy" (one-to-one head) does not.
        config: `conf`, `iou`, `max_det`.
        multi_label: see `detect`.

    Returns:
        Per image float32 (N, 6): xyxy in px, score, label; best first.
    """
    images = decoded.transpose(1, 2).float()
    if box_format == CENTRED:
        return [_suppressed(rows, config, multi_label) for rows in images]
    return [_best(rows, config) for rows in images]


def _suppressed(rows: Tensor, config: EvalConfig, multi_label: bool) -> Tensor:
    """Non-maximum suppression per class of (A, 4 + C)."""
    boxes, scores = xywh_to_xyxy(rows[:, :4]), rows[:, 4:]
    if multi_label:
        point, label = (scores > config.conf).nonzero(as_tuple=True)
    else:
        best = scores.max(1)
        point = (best.values > config.conf).nonzero()[:, 0]
        label = best.indices[point]
    boxes, kept = boxes[point], scores[point, label]
    if len(kept) > MOST_CANDIDATES:
        top = kept.topk(MOST_CANDIDATES).indices
        boxes, kept, label = boxes[top], kept[top], label[top]
    chosen = batched_nms(boxes, kept, label, config.iou)[: config.max_det]
    return torch.cat((boxes[chosen], kept[chosen, None], label[chosen, None].float()), 1)


def _best(rows: Tensor, config: EvalConfig) -> Tensor:
    """The best (anchor point, class) pairs of (A, 4 + C), for a one-to-one head."""
    scores = rows[:, 4:]
    best = scores.flatten().topk(min(config.max_det, scores.numel()))
    kept = best.values > config.conf
    score, index = best.values[kept], best.indices[kept]
    point, label = index // scores.shape[1], index % scores.shape[1]
    return torch.cat((rows[point, :4], score[:, None], label[:, None].float()), 1)
