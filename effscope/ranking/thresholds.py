"""Where a spectrum is cut: how large a singular value must be to count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from effscope.errors import EffscopeError
from effscope.ranking.null import bulk_edge
from effscope.ranking.spectrum import GRAM_FLOOR, TIE_BAND, Array, Kernel, MapShape, spectra

ENERGY_BAND = 1e-9
"""A share of energy this near the asked one is a tie: Gram matrices give energies to 1e-13."""


@dataclass(frozen=True)
class Cut:
    """What a threshold makes of a spectrum.

    Attributes:
        rank: how many values count.
        tie: a value sits at the cut: rounding decides whether it counts.
        resolved: a Gram matrix tells this cut from the next one; where not, the SVD must.
    """

    rank: int
    tie: bool = False
    resolved: bool = True


Rule = Callable[[Array, MapShape, float, float], Cut]


def _above(values: Array, cutoff: float) -> Cut:
    tie = bool(np.abs(values - cutoff).min() < TIE_BAND * values[0])
    return Cut(int(np.count_nonzero(values > cutoff)), tie, not tie and cutoff >= GRAM_FLOOR * values[0])


def _ratio(values: Array, shape: MapShape, eps: float, level: float) -> Cut:
    """Above a share of the largest; .5 is the published definition (arXiv 2405.14458, figure 3)."""
    return _above(values, level * values[0])


def _eps(values: Array, shape: MapShape, eps: float, level: float) -> Cut:
    """Above `level` times what rounding in the stored dtype leaves: max(rows, columns) * eps of the largest.

    Source: Press et al., Numerical Recipes 2007, section 2.6; numpy.linalg.matrix_rank. Always by SVD.
    """
    return Cut(_above(values, level * max(shape.rows, shape.columns) * eps * values[0]).rank, resolved=False)


def _energy(values: Array, shape: MapShape, eps: float, level: float) -> Cut:
    """The fewest largest values that hold a share of the sum of squares."""
    shares = np.cumsum((values / values[0]) ** 2)
    shares = shares / shares[-1]
    tie = bool(np.abs(shares - level).min() < ENERGY_BAND)
    return Cut(min(int(np.searchsorted(shares, level)) + 1, len(values)), tie, not tie)


def _bulk(values: Array, shape: MapShape, eps: float, level: float) -> Cut:
    """Above `level` times the edge of the Marchenko-Pastur bulk whose noise the median value tells.

    Never below what float64 rounding leaves. Source: Gavish and Donoho, arXiv 1305.5870, for the median as noise level.
    """
    floor = max(shape.rows, shape.columns) * float(np.finfo(np.float64).eps)
    return _above(values, max(level * bulk_edge(values, shape), floor * values[0]))


@dataclass(frozen=True)
class Kind:
    """A way to cut: its rule, its usual level, and the levels it can take (all above 0)."""

    rule: Rule
    usual: float
    below: float = float("inf")


KINDS: dict[str, Kind] = {
    "ratio": Kind(_ratio, 0.5, 1.0),
    "energy": Kind(_energy, 0.9, 1.0),
    "eps": Kind(_eps, 1.0),
    "mp": Kind(_bulk, 1.0),
}
"""Word of a threshold -> its kind."""

WORDS = "a ratio of the largest such as 0.5 or half, energy:0.9, eps, or mp"


@dataclass(frozen=True)
class Threshold:
    """A kind of `KINDS` with its level."""

    kind: str = "ratio"
    level: float = 0.5

    @property
    def spelling(self) -> float | str:
        """As results say it: a ratio as a number, others as text that `read_threshold` reads."""
        if self.kind == "ratio":
            return self.level
        return self.kind if self.level == 1 else f"{self.kind}:{self.level}"

    @property
    def words(self) -> str:
        """What counts, for tables."""
        of = f"{self.level:g} times " if self.level != 1 else ""
        return {
            "ratio": f"singular values above {self.level:g} of the largest",
            "energy": f"the fewest singular values that hold {100 * self.level:g} % of the energy",
            "eps": f"singular values above {of}max(rows, columns) * eps of the stored dtype",
            "mp": f"singular values above {of}the Marchenko-Pastur edge of noise like their median",
        }[self.kind]

    def cut(self, values: Array, shape: MapShape, eps: float) -> Cut:
        """Cut descending values of a map of that shape whose weights are stored with that eps; 0 for zeros."""
        if not len(values) or values[0] <= 0:
            return Cut(0)
        return KINDS[self.kind].rule(values, shape, eps, self.level)


def too_coarse(cut: Threshold, shape: MapShape, eps: float) -> bool:
    """Whether rounding at eps could make a value as large as the largest: then the threshold tells nothing."""
    return cut.kind == "eps" and cut.level * max(shape.rows, shape.columns) * eps >= 1


def settled_spectra(kernels: Sequence[Kernel], cuts: Sequence[Threshold]) -> list[Array]:
    """Singular values of kernels, by SVD where a Gram matrix does not settle one of the cuts.

    Raises:
        EffscopeError: NaN or infinite entries; names the kernel.
    """

    def undecided(kernel: Kernel, values: Array) -> bool:
        return not all(cut.cut(values, kernel.shape, kernel.eps).resolved for cut in cuts)

    return spectra(kernels, undecided)


def refuse_for_outputs(threshold: Threshold) -> None:
    """Raises EffscopeError for a threshold that says nothing of a covariance of outputs."""
    if threshold.kind == "mp":
        raise EffscopeError(
            "--threshold mp needs weights: outputs are not noise of one size, so they have no such edge"
        )
    if threshold.kind == "ratio" and threshold.level < GRAM_FLOOR:
        raise EffscopeError(
            f"--threshold {threshold.level:g} is below {GRAM_FLOOR:g}: a covariance cannot tell so little"
        )


def read_threshold(value: float | str) -> Threshold:
    """A threshold from what people write: 0.5, "half", "ratio:0.4", "energy:0.9", "eps", "eps:10", "mp".

    Raises:
        EffscopeError: no such kind, or a level it cannot take.
    """
    text = str(value).strip()
    word, _, level = ("ratio:0.5" if text == "half" else text).partition(":")
    if word not in KINDS:
        word, level = "ratio", text or "nothing"
    kind = KINDS[word]
    try:
        number = float(level) if level else kind.usual
    except ValueError:
        raise EffscopeError(f"unknown --threshold '{value}': give {WORDS}") from None
    if not 0 < number < kind.below:
        limits = f"lie between 0 and {kind.below:g}" if kind.below < float("inf") else "be a number above 0"
        raise EffscopeError(f"--threshold '{value}': the level must {limits}")
    return Threshold(word, number)
