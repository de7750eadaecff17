"""`builtin:shapes`: images of six kinds of plane figures, generated from a seed, to try effscope without data.

The colour does not depend on the kind. Figures are turned, shaded, cut and partly hidden, among distracting lines and
blobs.
`ShapesConfig.kinds` can add kinds with small differences (ellipse, rhombus, star of six points, ring with a gap).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from effscope.config import BUILTIN_SHAPES
from effscope.data.record import Ledger, Listing, Record, choose_split
from effscope.data.shape_outlines import KINDS, Outline, blob, stroke
from effscope.errors import unknown

N_TRAIN = 480
N_VAL = 160
N_TEST = 160
PLACE_TRIES = 12
COLOUR_TRIES = 20

Canvas = NDArray[np.float32]  # (H, W, 3) RGB, 0-255


@dataclass(frozen=True)
class ShapesConfig:
    """Settings of `builtin:shapes`. A pair is a range; each image or figure draws a value from it.

    Attributes:
        side: width and height of an image, px.
        counts: images per split.
        kinds: classes, keys of `KINDS`; fewer or less similar kinds are easier.
        objects: figures per image.
        size: diameter of a figure's circumscribed circle / side; log-uniform, so small figures are more frequent.
        max_hidden: largest fraction of a figure that later figures may cover.
        max_cut: largest fraction of a figure's width or height that may be outside the image.
        max_turn: largest rotation in both directions, degrees.
        contrast: smallest RGB distance (0-441) between a figure and the mean colour under it.
        shade: largest change of brightness across a figure, 0-255.
        texture: amplitude of the background's texture, 0-255.
        lines: clutter lines per image, half below and half above the figures.
        line_width: width of the lines, px.
        blobs: round distractors per image, below the figures.
        blob_size: diameter of the blobs / side.
        noise: standard deviation of the pixel noise, 0-255.
        blur: radius of the final Gaussian blur, px.
        oversampling: masks are drawn larger by this factor and averaged; 1 = not antialiased.
    """

    side: int = 160
    counts: tuple[tuple[str, int], ...] = (("train", N_TRAIN), ("val", N_VAL), ("test", N_TEST))
    kinds: tuple[str, ...] = (
        "circle",
        "square",
        "triangle",
        "star5",
        "ring",
        "cross",
    )
    objects: tuple[int, int] = (2, 7)
    size: tuple[float, float] = (0.16, 0.50)
    max_hidden: float = 0.4
    max_cut: float = 0.05
    max_turn: float = 180.0
    contrast: float = 90.0
    shade: float = 40.0
    texture: float = 30.0
    lines: tuple[int, int] = (0, 4)
    line_width: tuple[float, float] = (1.0, 2.5)
    blobs: tuple[int, int] = (0, 3)
    blob_size: tuple[float, float] = (0.06, 0.25)
    noise: tuple[float, float] = (2.0, 8.0)
    blur: tuple[float, float] = (0.0, 0.8)
    oversampling: int = 3


@dataclass(frozen=True, eq=False)
class Patch:
    """Pixels of a figure: its slice of the image and the coverage of each pixel in it, float32 (h, w), 0-1."""

    rows: slice
    columns: slice
    coverage: NDArray[np.float32]

    @property
    def solid(self) -> NDArray[np.bool_]:
        """Whether more than half of a pixel is covered, bool (h, w)."""
        return self.coverage > np.float32(0.5)


def is_shapes(data: str) -> bool:
    """Whether `data` names the built-in set."""
    return data == BUILTIN_SHAPES


def list_shapes(data: str, split: str, seed: int, ledger: Ledger, config: ShapesConfig | None = None) -> Listing:
    """The images of one split, drawn when they are read; each depends only on (seed, split, position).

    Raises:
        EffscopeError: another built-in set, or an unknown split or kind.
    """
    if not is_shapes(data):
        raise unknown("built-in data set", data, [BUILTIN_SHAPES])
    settings = config or ShapesConfig()
    for kind in settings.kinds:
        if kind not in KINDS:
            raise unknown("kind of shape", kind, KINDS)
    counts = dict(settings.counts)
    chosen = choose_split(split, counts, data, ledger)
    number = list(counts).index(chosen)

    def drawn(indices: Iterable[int]) -> Iterator[Record]:
        for index in indices:
            yield draw(settings, np.random.default_rng([seed, number, index]), f"shapes_{chosen}_{index:05d}")

    return Listing(settings.kinds, range(counts[chosen]), drawn, doing="drawing images")


def draw(config: ShapesConfig, rng: Generator, name: str) -> Record:
    """One image, uint8 (side, side, 3), and the boxes of its figures, xyxy px.

    A box contains the whole figure inside the image, hidden parts included. A figure is not drawn if every tried
    position hides too much of an earlier one.
    """
    canvas = _background(config, rng)
    for _ in range(_between(config.blobs, rng)):
        radius, centre = 0.5 * config.side * rng.uniform(*config.blob_size), rng.uniform(0, config.side, size=2)
        _paint(canvas, _patch(blob(rng).moved(0.0, radius, tuple(centre)), config), rng, config)
    n_lines = _between(config.lines, rng)
    _clutter(canvas, n_lines // 2, config, rng)
    boxes, labels = _draw_figures(canvas, config, rng)
    _clutter(canvas, n_lines - n_lines // 2, config, rng)
    return Record(_develop(canvas, config, rng), name, boxes, labels)


def _between(bounds: tuple[int, int], rng: Generator) -> int:
    """A random whole number in the range, ends included."""
    return int(rng.integers(bounds[0], bounds[1] + 1))


def _clutter(canvas: Canvas, n: int, config: ShapesConfig, rng: Generator) -> None:
    """Draw straight lines across the canvas, in place."""
    for _ in range(n):
        start, end = rng.uniform(0, config.side, size=(2, 2))
        line = stroke(start, end, float(rng.uniform(*config.line_width)))
        _paint(canvas, _patch(line, config), rng, config)


def _draw_figures(
    canvas: Canvas, config: ShapesConfig, rng: Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw figures on the canvas, in place; returns their boxes (N, 4) xyxy px and labels (N,)."""
    owner = np.full((config.side, config.side), -1, dtype=np.int64)
    areas: list[int] = []
    boxes: list[list[float]] = []
    labels: list[int] = []
    for _ in range(_between(config.objects, rng)):
        label = int(rng.integers(len(config.kinds)))
        placed = _place(KINDS[config.kinds[label]](rng), owner, areas, config, rng)
        if placed is None:
            continue
        outline, patch = placed
        solid = patch.solid
        owner[patch.rows, patch.columns][solid] = len(areas)
        areas.append(int(solid.sum()))
        low, high = (np.clip(f(outline.edge, axis=0), 0, config.side) for f in (np.min, np.max))
        boxes.append([*low, *high])
        labels.append(label)
        _paint(canvas, patch, rng, config)
    return np.array(boxes, dtype=np.float64).reshape(-1, 4), np.array(labels, dtype=np.int64)


def _place(
    unit: Outline, owner: NDArray[np.int64], areas: list[int], config: ShapesConfig, rng: Generator
) -> tuple[Outline, Patch] | None:
    """A figure, turned, scaled and placed so that it does not hide too much of others; None if none is found."""
    for _ in range(PLACE_TRIES):
        radius = 0.5 * config.side * float(np.exp(rng.uniform(*np.log(config.size))))
        turned = unit.moved(np.deg2rad(rng.uniform(-config.max_turn, config.max_turn)), radius, (0.0, 0.0))
        low, high = turned.edge.min(axis=0), turned.edge.max(axis=0)
        slack = config.max_cut * (high - low)
        x, y = rng.uniform(-low - slack, config.side - high + slack)
        outline = turned.moved(0.0, 1.0, (float(x), float(y)))
        patch = _patch(outline, config)
        after = owner.copy()
        after[patch.rows, patch.columns][patch.solid] = len(areas)
        visible = np.bincount(after[after >= 0], minlength=len(areas) + 1)
        if all(visible[i] >= (1 - config.max_hidden) * area for i, area in enumerate(areas)):
            return outline, patch
    return None


def _patch(outline: Outline, config: ShapesConfig) -> Patch:
    """Rasterise an outline in px, clipped to the image."""
    low = np.clip(np.floor(outline.edge.min(axis=0)), 0, config.side - 1).astype(int)
    high = np.clip(np.ceil(outline.edge.max(axis=0)), low + 1, config.side).astype(int)
    width, height = (high - low).tolist()
    times = config.oversampling
    mask = Image.new("L", (width * times, height * times))
    pen = ImageDraw.Draw(mask)
    for points, fill in ((outline.edge, 255), *((hole, 0) for hole in outline.holes)):
        pen.polygon(((points - low) * times - 0.5).ravel().tolist(), fill=fill)
    coverage = np.asarray(mask.reduce(times), dtype=np.float32) / np.float32(255)
    return Patch(slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])), coverage)


def _paint(canvas: Canvas, patch: Patch, rng: Generator, config: ShapesConfig) -> None:
    """Paint a patch on the canvas, in place, in a random colour of enough contrast, with a shade across it."""
    below = canvas[patch.rows, patch.columns]
    weight = patch.coverage[:, :, None]
    mean = (below * weight).sum(axis=(0, 1)) / max(float(weight.sum()), 1e-6)
    colours = rng.uniform(0, 255, size=(COLOUR_TRIES, 3))
    distances = np.linalg.norm(colours - mean, axis=1)
    enough = np.flatnonzero(distances >= config.contrast)
    colour = colours[enough[0] if len(enough) else int(distances.argmax())]
    ramp = _ramp(below.shape[0], below.shape[1], float(rng.uniform(0, 2 * np.pi)))
    ink = colour.astype(np.float32) + np.float32(config.shade * rng.uniform()) * ramp[:, :, None]
    below += weight * (ink - below)


def _ramp(height: int, width: int, angle: float) -> NDArray[np.float32]:
    """A linear ramp in direction `angle`, float32 (height, width), about -0.5 to 0.5."""
    y, x = np.linspace(-0.5, 0.5, height), np.linspace(-0.5, 0.5, width)
    return np.asarray(np.sin(angle) * y[:, None] + np.cos(angle) * x[None, :], dtype=np.float32)


def _background(config: ShapesConfig, rng: Generator) -> Canvas:
    """A gradient between two colours, plus a random texture."""
    side = config.side
    first, second = rng.uniform(30, 225, size=(2, 3)).astype(np.float32)
    ramp = _ramp(side, side, float(rng.uniform(0, 2 * np.pi)))[:, :, None] + np.float32(0.5)
    grid = int(rng.integers(4, max(5, side // 5)))
    grain = rng.standard_normal((grid, grid)).astype(np.float32)
    smooth = np.asarray(Image.fromarray(grain).resize((side, side), Image.Resampling.BICUBIC))
    amplitude = np.float32(config.texture * rng.uniform())
    plain = first + ramp * (second - first) * np.float32(0.6)
    return np.asarray(plain + amplitude * smooth[:, :, None], dtype=np.float32)


def _develop(canvas: Canvas, config: ShapesConfig, rng: Generator) -> NDArray[np.uint8]:
    radius, deviation = float(rng.uniform(*config.blur)), float(rng.uniform(*config.noise))
    sharp = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    soft = np.asarray(sharp.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32)
    noise = rng.standard_normal(soft.shape, dtype=np.float32) * np.float32(deviation)
    return np.clip(np.rint(soft + noise), 0, 255).astype(np.uint8)
