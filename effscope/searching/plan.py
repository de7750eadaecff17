"""Estimated time of the jobs of a search, in units of one training image: for the progress and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from effscope.progress import duration
from effscope.searching.context import Context
from effscope.searching.rules import RULES

FIT_WEIGHT, SCORE_WEIGHT, CLOSED_WEIGHT = 0.03, 0.8, 2.0
"""Time of a distilled image, of a scored image, and of an image in a closed form, in units of a trained image."""

OVERHEAD = 1.3
"""Duration of a training step, in units of its forward and backward pass: augmentation, assignment, optimiser."""

SHORT = 1.0
"""Weight of a job that takes seconds."""


@dataclass(frozen=True)
class Plan:
    """Weights of a search's work.

    Attributes:
        n_train, n_val: number of images in the splits.
        base_epochs, epochs: epochs of the base (0 if it is not trained) and of each short training.
        fitting: weight of fitting one part.
        fits_head: whether the base's head is fitted.
        runs: most short trainings of the base, and of each candidate.
    """

    n_train: int
    n_val: int
    base_epochs: int
    epochs: int
    fitting: float
    fits_head: bool = False
    runs: int = 1

    @classmethod
    def of(cls, context: Context) -> Plan:
        """The plan of a search."""
        train, val = context.splits
        distil = context.config.distil
        return cls(
            len(train.samples), len(val.samples), 0 if context.fits else context.base_epochs, context.config.epochs,
            FIT_WEIGHT * distil.steps * distil.batch + CLOSED_WEIGHT * min(distil.images, len(train.samples)),
            context.fits and context.layout != context.yours,
            RULES[context.config.rule].most_runs(context.config.runs),
        )  # fmt: skip

    @property
    def scoring(self) -> float:
        """Weight of one scoring."""
        return SCORE_WEIGHT * self.n_val

    def training(self, epochs: int) -> float:
        """Weight of a training."""
        return float(epochs * self.n_train)

    def weight(self, kind: str) -> float:
        """Weight of a job of this kind; for the base, with training."""
        return self._weights()[kind]

    def whole(self, n_stages: int) -> float:
        """Weight of a search that tries every stage with all runs."""
        weights = self._weights()
        trial = weights["fit"] + weights["start"] + self.runs * weights["run"]
        return weights["base"] + weights["rank"] + self.runs * weights["run"] + weights["time"] + n_stages * trial

    def _weights(self) -> Mapping[str, float]:
        return {
            "base": self.training(self.base_epochs)
            + self.scoring * (1 + self.fits_head)
            + self.fitting * self.fits_head,
            "rank": SHORT,
            "fit": self.fitting,
            "start": self.scoring,
            "run": self.training(self.epochs) + self.scoring,
            "time": SHORT,
        }


def longest(plan: Plan, n_stages: int, images_per_s: float) -> float:
    """Seconds of a search that tries every stage with all runs, from the speed of forward and backward passes."""
    return OVERHEAD * plan.whole(n_stages) / images_per_s


def plan_line(context: Context, plan: Plan, n_stages: int, images_per_s: float, folder: object) -> str:
    """The plan as one line, with an upper bound of its duration from the training speed of this machine."""
    c = context.config
    trainings = plan.runs * (n_stages + 1) + bool(plan.base_epochs)
    looks = RULES[c.rule].looks_within(c.runs)
    seconds = longest(plan, n_stages, images_per_s)
    return (
        f"plan: base {context.given.name} ({base_words(context, plan)}), up to {n_stages} candidates, each fitted "
        f"without labels and trained {c.epochs} epochs{_times(looks)}, on {plan.n_train} images at {c.imgsz} px, batch "
        f"{c.batch}, seed {c.seed}: at most {trainings} trainings, {duration(seconds)} on this machine; "
        f"folder {folder}"
    )


def _times(looks: tuple[int, ...]) -> str:
    """How often a candidate is trained, in words."""
    if looks == (1,):
        return ""
    *first, last = looks
    return f" {', '.join(map(str, first))} or {last} times" if first else f" {last} times"


def base_words(context: Context, plan: Plan) -> str:
    """What happens to the base before any candidate, for the plan and the notes."""
    if context.fits:
        return "its weights know these classes" + (", its light head is fitted to its own" if plan.fits_head else "")
    if context.given.state is None:
        return f"no weights, trained {plan.base_epochs} epochs"
    return (
        f"its weights know {context.given.layout.nc} other classes: new class towers, trained {plan.base_epochs} epochs"
    )
