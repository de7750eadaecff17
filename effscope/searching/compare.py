"""Compare two detectors on the same images, each given by one or several weights files."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from effscope.config import EvalConfig
from effscope.data.check import check_boxes, say_faults
from effscope.data.classes import in_model_classes
from effscope.data.load import load
from effscope.data.sample import DataSet
from effscope.detect.evaluate import evaluate
from effscope.detect.resampling import match
from effscope.errors import EffscopeError
from effscope.models.opened import Model
from effscope.nn.fuse import deploy
from effscope.progress import Parts, Progress, Say
from effscope.results import CompareResult, ScoredRun, origin
from effscope.searching.evidence import Arm, Run, mean_ap
from effscope.searching.rules import compared

Side = Sequence[Model]


def compare(
    sides: tuple[Side, Side],
    data: str,
    split: str,
    limit: int | None,
    config: EvalConfig,
    margin: float,
    progress: Progress,
    say: Say,
) -> CompareResult:
    """Score all models on the same images and judge the difference between both sides.

    Args:
        sides: the models of A and of B; several of one side are runs with different seeds.
        data: data set.
        split: its split.
        limit: maximum number of images.
        config: how detections are made and scored.
        margin: allowed loss of AP, a fraction.
        progress: called with the fraction done and a text.
        say: called with faults of the data.

    Raises:
        EffscopeError: bad data, or models that know different classes of it.
    """
    labelled = check_boxes(load(data, split, limit, progress=lambda _, text: progress(0.0, text)))
    first = sides[0][0]
    given = in_model_classes(labelled, first.classes, first.layout.nc, first.name, say)
    parts = Parts(progress, sum(map(len, sides)))
    arms: list[Arm] = []
    rows, scored = [], given
    for letter, side in zip("AB", sides, strict=True):
        runs = []
        for model in side:
            _check_classes(model, first, given)
            found = evaluate(deploy(model.network()), given, config, parts.part(1, model.name))
            scored = found.dataset or given
            runs.append(Run(found.ap, match(scored.samples, found.detections, len(scored.classes)).left_out()))
            rows.append(ScoredRun(letter, model.name, runs[-1].ap))
        arms.append(tuple(runs))
    say_faults(scored, say)
    verdict, judged = compared(arms[0], arms[1], margin)
    return CompareResult(
        a=_title(sides[0]), b=_title(sides[1]), runs=tuple(rows), ap_a=mean_ap(arms[0]), ap_b=mean_ap(arms[1]),
        delta=verdict.delta, ci=verdict.ci or (verdict.delta, verdict.delta), margin=margin, verdict=verdict.word,
        note=verdict.note, run_sd=None if judged.one_run is None else sqrt(judged.one_run / 2),
        image_sd=sqrt(judged.image_variance), images=len(scored.samples),
        origin=origin(config, data={split: scored.digest}),
    )  # fmt: skip


def _check_classes(model: Model, first: Model, data: DataSet) -> None:
    """Labels must mean the same for every model."""
    if model.layout.nc != first.layout.nc or (
        None not in (model.classes, first.classes) and model.classes != first.classes
    ):
        raise EffscopeError(
            f"{model.name} and {first.name} know different classes, or name them in another order: their AP on "
            f"{data.source} cannot be compared; score each with `effscope eval`"
        )


def other_sizes(sides: tuple[Side, Side], used: int) -> tuple[str, ...]:
    """A line for the user if a model was trained with another image size than the one that is used for all, in px."""
    own = {f"{letter} {model.name}": model.imgsz for letter, side in zip("AB", sides, strict=True) for model in side}
    others = [f"{name} was trained at {size} px" for name, size in own.items() if size not in (None, used)]
    if not others:
        return ()
    return (f"{', '.join(others)}, but both sides are judged at {used} px: `imgsz` sets another size",)


def _title(side: Side) -> str:
    return side[0].name if len(side) == 1 else f"{side[0].name} and {len(side) - 1} more"
