"""Parse thresholds of the numerical rank. `ranking/thresholds` applies them to singular values."""

from __future__ import annotations

from dataclasses import dataclass

from effscope.errors import EffscopeError


@dataclass(frozen=True)
class ThresholdKind:
    """A kind of threshold.

    Attributes:
        words: which singular values count, for tables; may hold {level}, {percent} and {times}.
        default: the level if the user gives none.
        below: levels lie between 0 and this, both excluded.
    """

    words: str
    default: float
    below: float = float("inf")


KINDS: dict[str, ThresholdKind] = {
    "ratio": ThresholdKind("singular values above {level} of the largest", 0.5, 1.0),
    "energy": ThresholdKind("the fewest singular values that hold {percent} % of the energy", 0.9, 1.0),
    "eps": ThresholdKind("singular values above {times}max(rows, columns) * eps of the stored dtype", 1.0),
    "mp": ThresholdKind("singular values above {times}the Marchenko-Pastur edge of noise with the same median", 1.0),
}
"""Word of a threshold -> its kind. `ranking.thresholds.RULES` has the function for the same word."""

CHOICES = "a ratio of the largest such as 0.5 or half, energy:0.9, eps, or mp"


@dataclass(frozen=True)
class Threshold:
    """A kind of `KINDS` with its level."""

    kind: str = "ratio"
    level: float = 0.5

    @property
    def spelling(self) -> float | str:
        """The value in results: a number for a ratio, a string for other kinds. `read_threshold` reads both."""
        if self.kind == "ratio":
            return self.level
        return self.kind if self.level == 1 else f"{self.kind}:{self.level}"

    @property
    def words(self) -> str:
        """Which singular values count, for tables."""
        times = f"{self.level:g} times " if self.level != 1 else ""
        return KINDS[self.kind].words.format(level=f"{self.level:g}", percent=f"{100 * self.level:g}", times=times)


def read_threshold(value: float | str) -> Threshold:
    """Parse a threshold: 0.5, "half", "ratio:0.4", "energy:0.9", "eps", "eps:10", "mp".

    Raises:
        EffscopeError: an unknown kind, or a level that the kind does not take.
    """
    text = str(value).strip()
    word, _, level = ("ratio:0.5" if text == "half" else text).partition(":")
    if word not in KINDS:
        word, level = "ratio", text or "nothing"
    kind = KINDS[word]
    try:
        number = float(level) if level else kind.default
    except ValueError:
        raise EffscopeError(f"unknown `threshold` '{value}': give {CHOICES}") from None
    if not 0 < number < kind.below:
        limits = f"lie between 0 and {kind.below:g}" if kind.below < float("inf") else "be a number above 0"
        raise EffscopeError(f"`threshold` '{value}': the level must {limits}")
    return Threshold(word, number)
