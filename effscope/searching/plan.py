"""Estimated time of the jobs of a search, in units of one training image: for the progress and the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from effscope.config import data_words, targets_of
from effscope.config.search import LESS
from effscope.errors import counted
from effscope.progress import duration
from effscope.searching.context import Context
from effscope.searching.policies.target import LEVELS
from effscope.searching.rules import RULES

FIT_WEIGHT, SCORE_WEIGHT, CLOSED_WEIGHT = 0.03, 0.8, 2.0
"""Time of a distilled image, of a scored image, and of an image in a closed form, in units of a trained image."""

OVERHEAD = 1.3
"""Duration of a training step, in units of its forward and backward pass: augmentation, assignment, optimiser."""

SHORT = 1.0
"""Weight of a job that takes seconds."""

NAMED = 3
"""Most classes that a line names."""

BASELINES = 8
"""Most forms that the last job scores: your model, base, chosen model, another, two sizes, two models in int8."""

PIECE_WEIGHT = 30.0
"""Time to export and measure one piece of a network, in units of a trained image."""


@dataclass(frozen=True)
class Scope:
    """The most work that a policy may ask for.

    Attributes:
        fits: changes that are fitted.
        singles: changes that are scored alone.
        candidates: candidates that are trained.
        pieces: pieces that are timed.
        judges: whether the base is trained for comparison.
    """

    fits: int
    singles: int = 0
    candidates: int = 0
    pieces: int = 0
    judges: bool = True

    @classmethod
    def of(cls, context: Context) -> Scope:
        """The scope of a search."""
        changes, config = context.changes, context.config
        stages = len({change.stage for change in changes})
        if config.policy == "greedy":
            return cls(stages, stages if config.order.startswith("damage") else 0, stages)
        pieces = 0 if config.latency_table else 2 * len(changes)
        trying = config.policy == "target"
        return cls(len(changes), len(changes), len(LEVELS) if trying else 0, pieces, trying)


@dataclass(frozen=True)
class Plan:
    """Weights of a search's work.

    Attributes:
        n_train, n_val: number of images in the splits.
        base_epochs, epochs, finish_epochs: epochs of the base (0 if it is not trained), of each short training, and of
            the training at the end.
        fitting: weight of fitting one part.
        fits_head: whether the base's head is fitted.
        scope: how many jobs of each kind.
        runs: most short trainings of the base, and of each candidate.
    """

    n_train: int
    n_val: int
    base_epochs: int
    epochs: int
    finish_epochs: int
    fitting: float
    scope: Scope
    fits_head: bool = False
    runs: int = 1

    @classmethod
    def of(cls, context: Context) -> Plan:
        """The plan of a search."""
        train, val = context.splits
        distil = context.config.distil
        return cls(
            len(train.samples), len(val.samples), context.base_epochs, context.config.epochs,
            context.config.finish_epochs,
            FIT_WEIGHT * distil.steps * distil.batch + CLOSED_WEIGHT * min(distil.images, len(train.samples)),
            Scope.of(context),
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

    @property
    def whole(self) -> float:
        """Weight of a search in which every candidate is tried with all runs."""
        weights = self._weights()
        return sum(weights[kind] * n for kind, n in self._numbers().items())

    @property
    def jobs(self) -> int:
        """Number of jobs of such a search."""
        return sum(self._numbers().values())

    def _numbers(self) -> Mapping[str, int]:
        """Kind of job -> the most jobs of it."""
        scope = self.scope
        trained = self.runs * (scope.candidates + scope.judges)
        return {
            "base": 1, "rank": 1, "fit": scope.fits, "start": scope.singles + scope.candidates, "run": trained,
            "time": scope.judges, "finish": self.finish_epochs > 0, "pieces": scope.pieces > 0,
            "pace": scope.candidates, "baselines": scope.judges,
        }  # fmt: skip

    def _weights(self) -> Mapping[str, float]:
        return {
            "base": self.training(self.base_epochs)
            + self.scoring * (1 + self.fits_head)
            + self.fitting * self.fits_head,
            "rank": SHORT,
            "fit": self.fitting,
            "start": self.scoring,
            "run": self.training(self.epochs) + self.scoring,
            "finish": self.training(self.finish_epochs) + self.scoring,
            "time": SHORT,
            "pieces": PIECE_WEIGHT * self.scope.pieces,
            "pace": SHORT,
            "baselines": BASELINES * self.scoring + PIECE_WEIGHT,
        }


def longest(plan: Plan, images_per_s: float) -> float:
    """Seconds of a search in which every candidate is tried, from the speed of forward and backward passes."""
    return OVERHEAD * plan.whole / images_per_s


def plan_line(context: Context, plan: Plan, images_per_s: float, folder: object) -> str:
    """The plan as one line, with an upper bound of its duration from the training speed of this machine."""
    c, scope = context.config, plan.scope
    trainings = plan.runs * (scope.candidates + scope.judges) + bool(plan.base_epochs) + bool(plan.finish_epochs)
    looks, seconds = RULES[c.rule].looks_within(c.runs), longest(plan, images_per_s)
    candidates = f"trained {counted(c.epochs, 'epoch')}{_times(looks)}"
    if c.policy == "greedy":
        work = f"up to {counted(scope.candidates, 'candidate')}, each fitted without labels and {candidates}"
    else:
        alone = "scored and timed alone" if scope.pieces else "scored alone"
        work = f"{counted(scope.fits, 'change')}, each fitted without labels, then {alone}"
        work += f", then up to {counted(scope.candidates, 'candidate')}, each {candidates}" if scope.candidates else ""
    work += f", then {counted(plan.finish_epochs, 'epoch')} of the chosen one" if plan.finish_epochs else ""
    wanted = f", target: {target_words(c.target)}" if c.target else ""
    return (
        f"plan: base {context.given.name} ({base_words(context, plan)}){wanted}, {work}, on "
        f"{data_words(c.data, plan.n_train)} at {c.imgsz} px, batch {c.batch}, seed {c.seed}: at most "
        f"{counted(trainings, 'training')}, {duration(seconds)} on this machine; folder {folder}"
    )


def target_words(target: Sequence[str]) -> str:
    """What a target saves, in words: "15 % fewer parameters and 20 % less time"."""
    return " and ".join(f"{100 * share:g} % {LESS[cost]}" for cost, share in targets_of(target).items())


def other_classes(context: Context) -> str:
    """A line for the user, if the weights of the base know other classes than the data; else empty."""
    given = context.given
    if given.state is None or context.fits:
        return ""
    theirs, yours = _classes(given.layout.nc, given.classes), _classes(len(context.classes), context.classes)
    return (
        f"the weights of {given.name} know {theirs}, the data has {yours}: the base gets new class towers and first "
        f"trains {counted(context.base_epochs, 'epoch')}"
    )


def _classes(n: int, names: tuple[str, ...] | None) -> str:
    shown = f" ({', '.join(names[:NAMED])}{', ...' * (len(names) > NAMED)})" if names else ""
    return counted(n, "class", "classes") + shown


def _times(looks: tuple[int, ...]) -> str:
    """How often a candidate is trained, in words."""
    if looks == (1,):
        return ""
    *first, last = looks
    return f" {', '.join(map(str, first))} or {last} times" if first else f" {last} times"


def base_words(context: Context, plan: Plan) -> str:
    """What happens to the base before any candidate, for the plan and the notes."""
    if context.fits:
        return "its weights know these classes" + (
            ", a light class head is fitted to its own head" if plan.fits_head else ""
        )
    if context.given.state is None:
        return f"no weights, trained {counted(plan.base_epochs, 'epoch')}"
    return (
        f"its weights know {counted(context.given.layout.nc, 'other class', 'other classes')}: new class towers, "
        f"trained {counted(plan.base_epochs, 'epoch')}"
    )
