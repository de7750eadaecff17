"""Result of a comparison of two detectors on the same images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from effscope.config import EvalConfig
from effscope.errors import counted
from effscope.results.base import Origin, Result


@dataclass(frozen=True)
class ScoredRun:
    """One weights file of one side and its AP, a fraction."""

    side: str
    model: str
    ap: float


@dataclass(frozen=True, repr=False)
class CompareResult(Result):
    """Whether detector B is as good as detector A. AP, delta, ci, margin and deviations are fractions.

    Attributes:
        a, b: names of both sides.
        runs: every scored weights file; several of one side are runs with different seeds.
        ap_a, ap_b: mean AP of each side.
        delta: ap_b - ap_a.
        ci: 95 % interval of `delta`.
        margin: the allowed loss.
        verdict: "accepted" (B loses less than the margin), "rejected", or "inconclusive".
        note: the verdict in one sentence.
        run_sd: standard deviation of the AP of one run; None if no side has two.
        image_sd: standard error of `delta` over the choice of images.
        images: how many were scored.
        notes: lines for the user on the comparison.
        files: content of each file -> its path.
    """

    a: str
    b: str
    runs: tuple[ScoredRun, ...]
    ap_a: float
    ap_b: float
    delta: float
    ci: tuple[float, float]
    margin: float
    verdict: str
    note: str
    run_sd: float | None
    image_sd: float
    images: int
    origin: Origin[EvalConfig]
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    files: dict[str, str] = field(default_factory=dict, kw_only=True)

    KIND: ClassVar[str] = "compare"
    TABLE: ClassVar[str] = "runs"
    SHOWN: ClassVar = ("side", "model", "ap")

    @property
    def at_size(self) -> str:
        """The image size in words, " at 640 px"; empty if the result has no settings."""
        return "" if self.origin.config is None else f" at {self.origin.config.imgsz} px"

    def lines(self) -> tuple[str, ...]:
        """The verdict and the difference in AP with its interval."""
        low, high = self.ci
        return (
            f"B {self.b} against A {self.a}: {self.verdict}",
            f"AP of A {self.ap_a:.3f}, of B {self.ap_b:.3f}: {self.delta:+.3f} ({low:+.3f} to {high:+.3f}, 95 %), "
            f"allowed loss {self.margin:g}; {counted(self.images, 'image')}{self.at_size}",
        )
