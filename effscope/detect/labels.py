"""Write the labels of boxes where they do not cover each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
Area = tuple[float, float, float, float]
"""xyxy in px of the drawing."""

PAD = 2
"""Ground around a text, in px."""


@dataclass(frozen=True)
class Label:
    """The label of a box.

    Attributes:
        text: one line.
        box: xyxy in px of the drawing.
        ground, ink: colours.
        below: whether it stands below the box where this place is free, else above.
    """

    text: str
    box: Sequence[float]
    ground: Colour
    ink: Colour
    below: bool = False


def write_labels(pen: ImageDraw.ImageDraw, labels: Sequence[Label], font: Font) -> list[Area]:
    """Write each label at the first place of its box that covers no earlier label, else where it covers least.

    Args:
        pen: of the drawing.
        labels: the most important first.
        font: of the texts.

    Returns:
        The area of each label, inside the drawing unless the drawing is smaller.
    """
    areas: list[Area] = []
    for label in labels:
        left, top, right, bottom = pen.textbbox((0, 0), label.text, font=font)
        size = (right - left + 2 * PAD, bottom - top + 2 * PAD)
        area = min(places(label, size, pen.im.size), key=lambda place: sum(_common(place, one) for one in areas))
        pen.rectangle(area, fill=label.ground)
        pen.text((area[0] + PAD - left, area[1] + PAD - top), label.text, fill=label.ink, font=font)
        areas.append(area)
    return areas


def places(label: Label, size: tuple[float, float], drawing: tuple[int, int]) -> Iterator[Area]:
    """Possible areas of a label, best first: above its box, below it, inside at the top, inside at the bottom; at the
    left of the box, then at its right. A place beyond the edge of the drawing is moved inside.

    Args:
        label: its box may reach beyond the drawing.
        size: width and height of the label in px.
        drawing: width and height of the drawing in px.
    """
    (x0, y0, x1, y1), (wide, high) = label.box, size
    outside = [y1, y0 - high] if label.below else [y0 - high, y1]
    for x in (x0, x1 - wide):
        for y in (*outside, y0, y1 - high):
            left, top = (min(max(at, 0), max(most, 0)) for at, most in ((x, drawing[0] - wide), (y, drawing[1] - high)))
            yield left, top, left + wide, top + high


def _common(a: Area, b: Area) -> float:
    """Area that both have, in square px; edges that touch have one."""
    return max(min(a[2], b[2]) - max(a[0], b[0]) + 1, 0) * max(min(a[3], b[3]) - max(a[1], b[1]) + 1, 0)
