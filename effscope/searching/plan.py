"""Estimated time of the jobs of a search, in units of one training image: for the progress and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from effscope.progress import duration
from effscope.searching.context import Context

FIT_WEIGHT, SCORE_WEIGHT = 0.15, 0.8
"""Time of one distilled image, and of one scored image, in units of one trained image."""

SHORT = 1.0
"""Weight of a job that takes seconds."""


@dataclass(frozen=True)
class Plan:
    """Weights of a search's work.

    Attributes:
        n_train, n_val: number of images in the splits.
        base_epochs, epochs: epochs of the base and of each short training.
        fitting: weight of fitting one part.
    """

    n_train: int
    n_val: int
    base_epochs: int
    epochs: int
    fitting: float

    @classmethod
    def of(cls, context: Context) -> Plan:
        """The plan of a search."""
        train, val = context.splits
        distil = context.config.distil
        return cls(
            len(train.samples), len(val.samples), context.base_epochs, context.config.epochs,
            FIT_WEIGHT * distil.steps * distil.batch,
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
        """Weight of a search that tries every stage."""
        weights = self._weights()
        trial = sum(weights[kind] for kind in ("fit", "start", "run"))
        return sum(weights[kind] for kind in ("base", "rank", "run", "time")) + n_stages * trial

    def _weights(self) -> Mapping[str, float]:
        return {
            "base": self.training(self.base_epochs) + self.scoring,
            "rank": SHORT,
            "fit": self.fitting,
            "start": self.scoring,
            "run": self.training(self.epochs) + self.scoring,
            "time": SHORT,
        }


def plan_line(context: Context, plan: Plan, n_stages: int, images_per_s: float, folder: object) -> str:
    """The plan as one line, with an upper bound of its duration from the training speed of this machine."""
    c = context.config
    return (
        f"plan: base ({context.given.name}, {plan.base_epochs} epochs unless its weights fit), up to {n_stages} "
        f"candidates, each fitted without labels and trained {c.epochs} epochs, on {plan.n_train} images at {c.imgsz} "
        f"px, batch {c.batch}, seed {c.seed}: at most {n_stages + 2} trainings, "
        f"{duration(plan.whole(n_stages) / images_per_s)} on this machine; folder {folder}"
    )
