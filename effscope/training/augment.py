"""Augmentation at training size: mosaic, scale, shift, flips, colour. First a plan, then the pixels, then the boxes.

Every random number comes from one generator on the CPU, so a seed gives the same batch on every device.
Source: YOLOv8's recipe (mosaic of four images around a random centre; a box is kept if more than a tenth of it is
visible and it is larger than 2 px). Colour is one 3x3 matrix per image: hue is a rotation about the grey axis,
saturation a stretch away from it, value a gain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from effscope.detect.boxes import area
from effscope.detect.letterbox import PAD_VALUE, letterbox
from effscope.recipes import Recipe

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Tile:
    """A source image in an image of the batch, in px: x_out = gain * x_source + left, y_out = gain * y_source + top."""

    source: int
    gain: float
    left: float
    top: float


Plan = tuple[tuple[Tile, ...], ...]
"""The tiles of every image of a batch."""


class Draws:
    """Uniform random numbers from a generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, low: float, high: float) -> float:
        """One number in [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def tensor(self, n: int, reach: float) -> Tensor:
        """n numbers in [-reach, reach)."""
        return (torch.rand(n, generator=self.generator) * 2 - 1) * reach

    def index(self, n: int) -> int:
        """One integer in [0, n)."""
        return int(torch.randint(n, (), generator=self.generator))


def unaugmented(sources: Sequence[int], sizes: Sequence[tuple[int, int]], imgsz: int) -> Plan:
    """A plan without augmentation: each image in the centre at its own size. `sizes`: (width, height) px by index."""
    plan = []
    for source in sources:
        left, top = letterbox(sizes[source], imgsz).pad
        plan.append((Tile(source, 1.0, float(left), float(top)),))
    return tuple(plan)


def arrange(sources: Sequence[int], sizes: Sequence[tuple[int, int]], imgsz: int, recipe: Recipe, draws: Draws) -> Plan:
    """Choose mosaics, scale and shift for a batch.

    Args:
        sources: indices of the batch's images.
        sizes: (width, height) in px of every image of the set; no side is longer than `imgsz`.
        imgsz: side of the square output in px.
        recipe: `mosaic`, `scale`, `translate`.
        draws: source of random numbers.
    """
    plan = []
    for source in sources:
        if draws.uniform(0, 1) < recipe.mosaic:
            others = [draws.index(len(sizes)) for _ in range(3)]
            corners = _around_centre([source, *others], sizes, imgsz, draws)
            middle = float(imgsz)
        else:
            left, top = letterbox(sizes[source], imgsz).pad
            corners = [(source, float(left), float(top))]
            middle = imgsz / 2
        gain = draws.uniform(1 - recipe.scale, 1 + recipe.scale)
        x = (draws.uniform(-1, 1) * recipe.translate + 0.5) * imgsz
        y = (draws.uniform(-1, 1) * recipe.translate + 0.5) * imgsz
        plan.append(tuple(Tile(s, gain, (le - middle) * gain + x, (to - middle) * gain + y) for s, le, to in corners))
    return tuple(plan)


def _around_centre(
    sources: Sequence[int], sizes: Sequence[tuple[int, int]], imgsz: int, draws: Draws
) -> list[tuple[int, float, float]]:
    """Four images (index, left, top) that meet at a random centre of a canvas with twice the side."""
    x, y = draws.uniform(0.5, 1.5) * imgsz, draws.uniform(0.5, 1.5) * imgsz
    placed = []
    for corner, source in enumerate(sources):
        width, height = sizes[source]
        placed.append((source, x - width * (corner % 2 == 0), y - height * (corner < 2)))  # noqa: PLR2004
    return placed


def paint(plan: Plan, images: Sequence[Tensor], imgsz: int) -> tuple[Tensor, Plan]:
    """Paint the tiles.

    Args:
        plan: positions of the images.
        images: uint8 (h, w, 3) each.
        imgsz: side of the output in px.

    Returns:
        uint8 (B, imgsz, imgsz, 3) on grey, and the plan as painted: tiles are moved by less than a px to whole pixels,
        and tiles outside are left out.
    """
    canvases = torch.full((len(plan), imgsz, imgsz, 3), PAD_VALUE, dtype=torch.uint8)
    painted = []
    for canvas, tiles in zip(canvases, plan, strict=True):
        done = (_paint_tile(canvas, tile, images[tile.source]) for tile in tiles)
        painted.append(tuple(tile for tile in done if tile is not None))
    return canvases, tuple(painted)


def _paint_tile(canvas: Tensor, tile: Tile, image: Tensor) -> Tile | None:
    """Paint the visible part of an image. Returns the tile at its final position, or None if nothing is visible."""
    side = canvas.shape[0]
    rows = _visible(tile.top, tile.gain, image.shape[0], side)
    columns = _visible(tile.left, tile.gain, image.shape[1], side)
    if rows is None or columns is None:
        return None
    (y0, y1, top), (x0, x1, left) = rows, columns
    part = image[y0:y1, x0:x1]
    if tile.gain != 1:
        part = functional.interpolate(
            part.permute(2, 0, 1)[None],
            scale_factor=(tile.gain, tile.gain),
            mode="bilinear",
            align_corners=False,
            recompute_scale_factor=False,
        )[0].permute(1, 2, 0)
    high, wide = min(side, top + part.shape[0]), min(side, left + part.shape[1])
    canvas[max(top, 0) : high, max(left, 0) : wide] = part[max(-top, 0) : high - top, max(-left, 0) : wide - left]
    return Tile(tile.source, tile.gain, left - x0 * tile.gain, top - y0 * tile.gain)


def _visible(start: float, gain: float, length: int, side: int) -> tuple[int, int, int] | None:
    """Along one axis: first source px, end of the source px (exclusive), and canvas px of the first one."""
    first = max(math.floor(-start / gain), 0)
    last = min(math.ceil((side - start) / gain) + 1, length)
    at = round(start + first * gain)
    if last <= first or at >= side or at + math.floor((last - first) * gain) <= 0 or (last - first) * gain < 1:
        return None
    return first, last, at


def move_boxes(
    plan: Plan, boxes: Sequence[Tensor], labels: Sequence[Tensor], imgsz: int, recipe: Recipe
) -> tuple[Tensor, Tensor, Tensor]:
    """Ground-truth boxes after the plan, clipped to the image; boxes that are hardly visible are dropped.

    Args:
        plan: the plan that `paint` returned.
        boxes: per source image, float32 (n, 4) xyxy px.
        labels: per source image, int64 (n,).
        imgsz: side of the output in px.
        recipe: limits for boxes, see `worth_learning`.

    Returns:
        boxes float32 (N, 4) xyxy px, labels int64 (N,), and positions in the batch int64 (N,).
    """
    tiles = [(position, tile) for position, tiles in enumerate(plan) for tile in tiles]
    if not tiles:
        return torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    counts = torch.tensor([len(boxes[tile.source]) for _, tile in tiles])
    place = torch.tensor([[tile.gain, tile.left, tile.top] for _, tile in tiles]).repeat_interleave(counts, 0)
    owner = torch.tensor([position for position, _ in tiles]).repeat_interleave(counts)
    moved = torch.cat([boxes[tile.source] for _, tile in tiles]) * place[:, :1] + place[:, [1, 2, 1, 2]]
    clipped = moved.clamp(0, imgsz)
    keep = worth_learning(moved, clipped, recipe)
    return clipped[keep], torch.cat([labels[tile.source] for _, tile in tiles])[keep], owner[keep]


def worth_learning(whole: Tensor, visible: Tensor, recipe: Recipe) -> Tensor:
    """Bool (N,): the visible part (N, 4) of a box (N, 4) is large enough, by side, share of the box and aspect."""
    wide, high = (visible[:, 2:] - visible[:, :2]).unbind(-1)
    aspect = torch.maximum(wide / high.clamp(min=1e-6), high / wide.clamp(min=1e-6))
    share = area(visible) / area(whole).clamp(min=1e-6)
    large = (wide > recipe.least_side) & (high > recipe.least_side)
    return large & (share > recipe.least_visible) & (aspect < recipe.largest_aspect)


def flip(images: Tensor, boxes: Tensor, owner: Tensor, chosen: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Mirror some images and their boxes.

    Args:
        images: (B, H, W, 3).
        boxes: (N, 4) xyxy px.
        owner: (N,) position in the batch of each box.
        chosen: bool (B,), images to mirror.
        axis: 0 left-right, 1 up-down.
    """
    if not bool(chosen.any()):
        return images, boxes
    images = images.clone()
    images[chosen] = images[chosen].flip(2 - axis)
    side = images.shape[2 - axis]
    mirrored = boxes.clone()
    mirrored[:, axis], mirrored[:, axis + 2] = side - boxes[:, axis + 2], side - boxes[:, axis]
    return images, torch.where(chosen[owner, None], mirrored, boxes)


def colour_matrices(n: int, recipe: Recipe, draws: Draws) -> Tensor:
    """Random colour changes, float32 (n, 3, 3), to apply as rgb @ matrix."""
    hue = draws.tensor(n, recipe.hsv_h) * 2 * math.pi
    saturation = 1 + draws.tensor(n, recipe.hsv_s)
    value = 1 + draws.tensor(n, recipe.hsv_v)
    grey = torch.full((3, 3), 1 / 3)
    turn = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    rotation = grey + torch.cos(hue)[:, None, None] * (torch.eye(3) - grey) + torch.sin(hue)[:, None, None] * turn
    luma = torch.tensor(_LUMA)[:, None].expand(3, 3)  # rgb @ luma is grey
    stretch = luma + saturation[:, None, None] * (torch.eye(3) - luma)
    return rotation @ stretch * value[:, None, None]


def colour(images: Tensor, matrices: Tensor | None) -> Tensor:
    """Convert pixels to network input, with colour changes.

    Args:
        images: uint8 (B, H, W, 3).
        matrices: float32 (B, 3, 3), or None for no change.

    Returns:
        float32 (B, 3, H, W) within 0-1, channels last in memory.
    """
    n, height, width, _ = images.shape
    if matrices is None:
        return images.float().mul_(1 / 255).permute(0, 3, 1, 2)
    pixels = torch.bmm(images.view(n, -1, 3).float(), matrices / 255).clamp_(0, 1)
    return pixels.view(n, height, width, 3).permute(0, 3, 1, 2)
