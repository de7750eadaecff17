"""Outlines of the figures in `builtin:shapes`; the unit is the radius of the circumscribed circle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

CURVE_POINTS = 48  # corners of the polygon that approximates a circle

Points = NDArray[np.float64]  # (N, 2) xy


@dataclass(frozen=True, eq=False)
class Outline:
    """A figure as a filled polygon with holes, around the origin or at a position in px.

    Attributes:
        edge: float64 (N, 2) xy, the outer polygon.
        holes: polygons that are not filled.
    """

    edge: Points
    holes: tuple[Points, ...] = ()

    def moved(self, turn: float, scale: float, centre: tuple[float, float]) -> Outline:
        """Turned by `turn` radians, scaled, then shifted to `centre`."""
        matrix: Points = scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        shift = np.array(centre)
        return Outline(self.edge @ matrix + shift, tuple(hole @ matrix + shift for hole in self.holes))


def blob(rng: Generator) -> Outline:
    """A smooth round distractor that is not one of the kinds."""
    angle = _angles(CURVE_POINTS)
    radius = np.ones(CURVE_POINTS)
    for wave in (2, 3, 5):
        radius += rng.uniform(0.08, 0.2) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    return Outline(_polar(radius, angle))


def stroke(start: Points, end: Points, width: float) -> Outline:
    """A straight line between two points (2,), as a thin rectangle."""
    along = (end - start) / max(float(np.linalg.norm(end - start)), 1.0)
    across = np.array([-along[1], along[0]]) * width / 2
    return Outline(np.stack([start + across, end + across, end - across, start - across]))


def _angles(n: int) -> NDArray[np.float64]:
    return np.linspace(0.0, 2 * np.pi, n, endpoint=False)


def _polar(radius: NDArray[np.float64] | float, angle: NDArray[np.float64]) -> Points:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _polygon(n: int) -> Points:
    return _polar(1.0, _angles(n))


def _circle(rng: Generator) -> Outline:
    return Outline(_polygon(CURVE_POINTS))


def _ellipse(rng: Generator) -> Outline:
    return Outline(_polygon(CURVE_POINTS) * np.array([1.0, rng.uniform(0.55, 0.75)]))


def _square(rng: Generator) -> Outline:
    return Outline(_polygon(4))


def _rhombus(rng: Generator) -> Outline:
    return Outline(_polygon(4) * np.array([1.0, rng.uniform(0.5, 0.7)]))


def _triangle(rng: Generator) -> Outline:
    return Outline(_polygon(3))


def _star(points: int, rng: Generator) -> Outline:
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.0, rng.uniform(0.42, 0.52))
    return Outline(_polar(radius, _angles(2 * points)))


def _star5(rng: Generator) -> Outline:
    return _star(5, rng)


def _star6(rng: Generator) -> Outline:
    return _star(6, rng)


def _ring(rng: Generator) -> Outline:
    circle = _polygon(CURVE_POINTS)
    return Outline(circle, (circle * rng.uniform(0.5, 0.7),))


def _gap_ring(rng: Generator) -> Outline:
    """A ring without a sector of 45 to 75 degrees."""
    gap = np.deg2rad(rng.uniform(45, 75))
    angle = np.linspace(gap / 2, 2 * np.pi - gap / 2, CURVE_POINTS)
    inner = _polar(float(rng.uniform(0.5, 0.7)), angle[::-1])
    return Outline(np.concatenate([_polar(1.0, angle), inner]))


def _cross(rng: Generator) -> Outline:
    """A plus sign; the corners of its arms lie on the circumscribed circle."""
    arm = float(rng.uniform(0.2, 0.34))
    tip = float(np.sqrt(1 - arm**2))
    corner = np.array([[tip, -arm], [tip, arm], [arm, arm]])
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return Outline(np.concatenate([corner @ np.linalg.matrix_power(quarter, turn) for turn in range(4)]))


KINDS: dict[str, Callable[[Generator], Outline]] = {
    "circle": _circle,
    "ellipse": _ellipse,
    "square": _square,
    "rhombus": _rhombus,
    "triangle": _triangle,
    "star5": _star5,
    "star6": _star6,
    "ring": _ring,
    "gap_ring": _gap_ring,
    "cross": _cross,
}
