"""Draw detections and ground-truth boxes on an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from effscope.data.sample import Sample
from effscope.detect.labels import Colour, Font, Label, write_labels
from effscope.detect.predict import Detections

COLOURS: tuple[Colour, ...] = (
    (230, 25, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (0, 128, 128),
    (170, 110, 40), (128, 0, 0), (60, 140, 60), (0, 0, 160), (220, 60, 200),
)  # fmt: skip
"""Colour of class k is number k modulo the length; all are dark enough for white text."""

TRUTH: Colour = (255, 255, 255)
INK: Colour = (0, 0, 0)
LEGEND: Colour = (60, 60, 60)
"""Ground of the legend, on which dashes in white show."""

LEGEND_TEXTS = (
    (True, "true box; its class, if it is not found"),
    (False, "detection with class and score, from {:.2f}; colour: class"),
)
"""Whether a box of the legend is dashed, and its text; in braces the smallest drawn score."""

LEAST_SIDE = 640
"""Minimum long side of a drawn image in px: smaller images are enlarged, so that names are readable."""

_DASH = 6
_TEXT_SHARE = 0.02
_LEAST_TEXT = 11


@dataclass(frozen=True)
class Style:
    """Sizes in a drawn image.

    Attributes:
        gain: px of the drawn image per px of the image.
        text: height of the text in px.
        line: width of lines in px.
    """

    gain: float
    text: int
    line: int


def draw(
    image: NDArray[np.uint8],
    found: Detections,
    classes: Sequence[str],
    truth: Sample | None = None,
    least_score: float = 0.25,
    missed: NDArray[np.bool_] | None = None,
) -> Image.Image:
    """Draw detections in solid colour with name and score, ground-truth boxes dashed in white.

    Args:
        image: uint8 (H, W, 3) RGB.
        found: boxes in px of the image.
        classes: names, position = label.
        truth: ground-truth boxes, drawn under the detections.
        least_score: smallest score of a drawn detection, 0-1.
        missed: bool (ground-truth boxes,), which of them get their name: those that no detection matches.

    Returns:
        RGB, with the size of the image, or a whole multiple of it for a small image.
    """
    style = _style(image.shape[1], image.shape[0])
    size = (round(image.shape[1] * style.gain), round(image.shape[0] * style.gain))
    drawing = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(drawing)
    if truth is not None:
        for box in truth.boxes:
            _dashed(pen, [float(v) * style.gain for v in box], style)
    font = ImageFont.load_default(style.text)
    shown = [k for k in np.argsort(-found.scores, kind="stable") if found.scores[k] >= least_score]  # surest first
    boxes = [[float(v) * style.gain for v in found.boxes[k]] for k in shown]
    names = [
        Label(f"{classes[label]} {score:.2f}", box, COLOURS[label % len(COLOURS)], (255, 255, 255))
        for label, score, box in zip(found.labels[shown].tolist(), found.scores[shown], boxes, strict=True)
    ]
    for name in reversed(names):  # the surest on top
        pen.rectangle(name.box, outline=name.ground, width=style.line)
    if truth is not None and missed is not None:
        names += [
            Label(classes[label], [float(v) * style.gain for v in box], TRUTH, INK, below=True)
            for box, label in zip(truth.boxes[missed], truth.labels[missed], strict=True)
        ]
    write_labels(pen, names, font)
    return drawing


def _style(width: int, height: int) -> Style:
    long_side = max(width, height)
    gain = max(-(-LEAST_SIDE // long_side), 1)
    text = max(round(long_side * gain * _TEXT_SHARE), _LEAST_TEXT)
    return Style(gain, text, max(round(text / 6), 2))


def _dashed(pen: ImageDraw.ImageDraw, box: Sequence[float], style: Style) -> None:
    """Draw a dashed rectangle with dark gaps, visible on any background."""
    x0, y0, x1, y1 = box
    dash = _DASH * style.line / 2
    pen.rectangle((x0, y0, x1, y1), outline=(0, 0, 0), width=1)
    for start, end, level in ((x0, x1, y0), (x0, x1, y1)):
        for at in np.arange(start, end, 2 * dash):
            pen.line((at, level, min(at + dash, end), level), fill=TRUTH, width=style.line)
    for start, end, level in ((y0, y1, x0), (y0, y1, x1)):
        for at in np.arange(start, end, 2 * dash):
            pen.line((level, at, level, min(at + dash, end)), fill=TRUTH, width=style.line)


def with_legend(drawing: Image.Image, least_score: float) -> Image.Image:
    """The drawing with a strip below that says what the boxes are.

    Args:
        drawing: made by `draw` with names at the missed objects.
        least_score: smallest score of the drawn detections, 0-1.
    """
    width, height = drawing.size
    style = _style(width, height)
    font, pad, high = ImageFont.load_default(style.text), style.text, round(1.6 * style.text)
    left = 5 * style.text
    lines = [
        (n == 0, dashed, line)
        for dashed, text in LEGEND_TEXTS
        for n, line in enumerate(_wrapped(text.format(least_score), width - left - pad, font))
    ]
    made = Image.new("RGB", (width, height + len(lines) * high + pad), LEGEND)
    made.paste(drawing, (0, 0))
    pen = ImageDraw.Draw(made)
    for n, (outline, dashed, line) in enumerate(lines):
        top = height + pad // 2 + n * high
        box = (pad, top + high // 5, left - pad, top + high - high // 5)
        if outline and dashed:
            _dashed(pen, box, style)
        elif outline:
            pen.rectangle(box, outline=COLOURS[0], width=style.line)
        pen.text((left, top + high // 2), line, fill=TRUTH, font=font, anchor="lm")
    return made


def _wrapped(text: str, width: int, font: Font) -> list[str]:
    """The text in lines of at most so many px, broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
