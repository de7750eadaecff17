"""What makes the difference between a candidate and its base less noisy: two models, trained in several ways.

`python experiments/run-noise/run.py measure FOLDER [WAY...]` takes a finished search with --keep-work and
repeats, with `SEEDS` seeds, the short trainings of its base, of its first and of its last candidate in each way; it can
be stopped at any time.
`python experiments/run-noise/run.py page FOLDER...` prints a table for each folder from what is there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from pathlib import Path
from statistics import correlation, fmean, stdev

from effscope.detect.jackknife import jackknife_variance
from effscope.progress import silent
from effscope.recipes import Recipe
from effscope.results import ACCEPTED, Change, SearchResult, Trial, version
from effscope.searching.context import Context
from effscope.searching.execute import execute
from effscope.searching.jobs import Job, Measurement
from effscope.workspace import WORK, Workspace

SEEDS = 4


@dataclass(frozen=True)
class Way:
    """One way to train, beside `USUAL`.

    Attributes:
        recipe: changed fields of the recipe.
        lr, epochs: factors of the learning rate and of the number of epochs.
    """

    recipe: Mapping[str, float] = field(default_factory=dict)
    lr: float = 1.0
    epochs: float = 1.0


USUAL = Recipe(lr=1e-3, warmup_epochs=1.0, close_mosaic_epochs=5)
"""What the short trainings were when this was measured; `quick` is the way `mirrored-only` now."""

PLAIN = {"mosaic": 0.0, "scale": 0.0, "translate": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}
AVERAGED = {"ema_decay": 0.97, "ema_ramp_steps": 10}
TAUGHT = {"distil_gain": 1.0}

WAYS = {
    "augmented": Way(),
    "mosaic-to-the-end": Way({"mosaic": 1.0, "close_mosaic_epochs": 0}),
    "no-mosaic": Way({"mosaic": 0.0}),
    "mirrored-only": Way(PLAIN),
    "averaged": Way(AVERAGED),
    "lr/3": Way(lr=1 / 3),
    "lr/10": Way(lr=1 / 10),
    "lr*3": Way(lr=3),
    "taught": Way(TAUGHT),
    "taught,lr/3": Way(TAUGHT, lr=1 / 3),
    "epochs/2": Way(epochs=1 / 2),
    "epochs*2": Way(epochs=2),
    "epochs*2,lr/3": Way(lr=1 / 3, epochs=2),
}


def inputs(result: SearchResult, way: Way) -> Context:
    """The inputs of a search whose short trainings are made in a way; one thread, so that two can run side by side."""
    config = replace(result.origin.config, device="cpu")
    recipe = replace(USUAL, **{**way.recipe, "lr": USUAL.lr * way.lr})  # type: ignore[arg-type]
    return Context(replace(config, proxy_recipe=recipe, epochs=max(round(config.epochs * way.epochs), 1)), 1, "cpu")


def candidates(result: SearchResult) -> list[Trial]:
    """The first candidate, and the last one if the search rejected it."""
    first, last = result.trials[0], result.trials[-1]
    return [first] if last is first or last.verdict == ACCEPTED else [first, last]


def job(folder: Path, way: str, changes: Sequence[Change], seed: int) -> Job:
    """A short training in a way; it starts from the weights that the search has."""
    kinds = ["base", *(f"fit-{change.stage}{change.move}" for change in changes)]
    needs = tuple(next((folder / WORK).glob(f"{kind}-*.safetensors")).stem for kind in kinds)
    return Job("run", tuple(changes), seed, way, needs)


def measure(folder: Path, ways: Sequence[str]) -> None:
    """Run what is missing, seed by seed."""
    result, workspace = SearchResult.load(folder / "search.json"), Workspace(folder)
    contexts = {way: inputs(result, WAYS[way]) for way in ways}
    for seed in range(SEEDS):
        for way, context in contexts.items():
            for changes in ((), *(trial.changes for trial in candidates(result))):
                wanted = job(folder, way, changes, seed)
                if workspace.kept(wanted.id) is None:
                    found = execute(wanted, context, workspace, silent, print)
                    print(f"{way} {wanted.title} seed {seed}: {found.ap:.4f}, {found.seconds:.0f} s", flush=True)


@dataclass(frozen=True)
class Noise:
    """What the runs of a way say; AP in points.

    Attributes:
        delta: mean difference between candidate and base.
        single: standard deviation of one run, from both arms.
        alone, paired: standard deviation of the difference of one run each, with independent and with equal seeds.
        images: standard deviation of the difference over the choice of validation images.
        seconds: of one training with its scoring, one thread.
        n_images: training images of one run.
    """

    n: int
    base: float
    delta: float
    single: float
    alone: float
    paired: float
    shared: float
    images: float
    seconds: float
    n_images: int


def noise(folder: Path, result: SearchResult, trial: Trial, way: str) -> Noise | None:
    """The runs of a way that are there with both arms; None for less than three."""
    workspace, pairs = Workspace(folder), []
    for seed in range(SEEDS):
        kept = [workspace.kept(job(folder, way, changes, seed).id) for changes in ((), trial.changes)]
        if all(kept):
            pairs.append(tuple(Measurement.from_dict(facts) for facts in kept))
    if len(pairs) < 3:
        return None
    base, candidate = ([100 * (run.ap or 0.0) for run in arm] for arm in zip(*pairs, strict=True))
    single = sqrt((stdev(base) ** 2 + stdev(candidate) ** 2) / 2)
    differences = [b - a for a, b in zip(base, candidate, strict=True)]
    images = [
        jackknife_variance([100 * (b - a) for a, b in zip(*(run.left_out for run in pair), strict=True)])
        for pair in pairs
    ]
    context = inputs(result, WAYS[way])
    return Noise(
        len(pairs), fmean(base), fmean(differences), single, sqrt(2) * single, stdev(differences),
        correlation(base, candidate), sqrt(fmean(images)), fmean(run.seconds for pair in pairs for run in pair),
        context.config.epochs * len(context.splits[0].samples),
    )  # fmt: skip


def table(folder: Path) -> str:
    """The tables of one search."""
    result = SearchResult.load(folder / "search.json")
    config = result.origin.config
    data = config.data.split("/")[-2] if "/" in config.data else config.data
    lines = [f"## {result.base} on {data}, {config.imgsz} px, effscope {version('effscope')}"]
    for trial in candidates(result):
        rows = [(way, found) for way in WAYS if (found := noise(folder, result, trial, way))]
        unit = next((found for way, found in rows if way == "augmented"), None)
        if unit is None:
            continue
        lines += [
            "",
            f"Candidate: {', '.join(str(change.stage) for change in trial.changes)} {trial.move}; AP at once "
            f"{100 * trial.ap_start:.1f}; {min(found.n for _, found in rows)} seeds or more.",
            "",
            "| way | images of a run | AP of the base | difference | sd of a run | sd of the difference, other seeds | "
            "same seeds | correlation | sd over images | variance x images, same seeds |",
            "| :-- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
        ]
        for way, found in rows:
            price = found.paired**2 * found.n_images / (unit.paired**2 * unit.n_images)
            lines.append(
                f"| {way} | {found.n_images:,} | {found.base:.1f} | {found.delta:+.2f} | {found.single:.2f} | "
                f"{found.alone:.2f} | {found.paired:.2f} | {found.shared:+.2f} | {found.images:.2f} | {price:.2f} |"
            )
    return "\n".join(lines)


def main(command: str, *words: str) -> None:
    """Measure, or print the page."""
    if command == "measure":
        measure(Path(words[0]), words[1:] or list(WAYS))
    else:
        print("\n\n".join(table(Path(folder)) for folder in words))


if __name__ == "__main__":
    if len(sys.argv) <= 2 or sys.argv[1] not in ("measure", "page"):
        sys.exit("usage: python experiments/run-noise/run.py measure FOLDER [WAY...], or page FOLDER...")
    main(*sys.argv[1:])
