"""Post-processing to time: NMS or top-k on dummy outputs of a detector's head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from effscope.config import EvalConfig, LatencyConfig
from effscope.config.image_size import image_shape
from effscope.detect.predict import CENTRED, select
from effscope.errors import counted
from effscope.timing.dummy_outputs import decoded
from effscope.timing.runnable import Runnable

METHODS = {CENTRED: "NMS", "xyxy": "top-k"}
"""Box format of a head -> its post-processing."""


@dataclass(frozen=True)
class PostProcessing:
    """The post-processing of one image.

    Attributes:
        box_format: box format of the head.
        objects: objects in the image.
        conf: lowest score of a kept box.
        multi_label: keep a box with several classes, as for scoring AP.
    """

    box_format: str
    objects: int
    conf: float
    multi_label: bool

    @property
    def part(self) -> str:
        """Name of its row."""
        conf = f", conf {self.conf:g}" if self.box_format == CENTRED else ""
        return f"{METHODS[self.box_format]}, {counted(self.objects, 'object')}{conf}"

    def prepared(self, model: Runnable, config: LatencyConfig, device: torch.device) -> Callable[[], object]:
        """A call that post-processes a dummy output of the model's head."""
        values, boxes = model.decoded_shape
        sides = image_shape(config.imgsz)[-2:]
        output = decoded(self.objects, boxes, values - 4, max(sides), self.box_format, config.seed).to(device)
        return partial(select, output, self.box_format, EvalConfig(conf=self.conf), multi_label=self.multi_label)


def post_processings(model: Runnable, config: LatencyConfig) -> list[PostProcessing]:
    """Every post-processing of a model: each head, with each number of objects up to its number of boxes.

    NMS is timed for normal use and for scoring: its time depends on the score threshold, that of top-k does not.
    """
    if not model.heads:
        return []
    counts = [n for n in sorted({*config.objects, config.typical}) if n <= model.decoded_shape[1]]
    uses = ((config.conf, False), (config.scoring_conf, True))
    return [
        PostProcessing(box_format, n, *use)
        for box_format in model.heads
        for use in (uses if box_format == CENTRED else uses[:1])
        for n in counts
    ]
