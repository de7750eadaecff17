"""Scores of a detector, by class; its errors by kind; its confused classes, and its curves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

from effscope.errors import counted
from effscope.reporting.page import DETAILS, Page, Part, Picture, Rows, Section, Table, points, present, signed
from effscope.reporting.plots.eval import NO_BOX, NOT_FOUND, confusion_plot, cropped, f1_plot, pr_plot
from effscope.results import CURVE_RECALLS, CURVE_SCORES, Confusion, EvalResult, Latency, TrainResult, plain

NARROW = ("boxes", "F1", "AP50")
"""Columns that a narrow terminal leaves out, in this order."""

LONGEST = 32
"""Characters of a class name in a table; csv and JSON have the whole name."""

NARROW_PEAK = 0.05
"""A largest mean F1 this much above the F1 at the cut is told."""

DRAWN = "picture_"
"""How the names of drawn images in `files` begin."""

MOST_PAIRS = 4
"""Confused pairs in a line."""

MOST_ROWS = 20
"""Confused pairs in the table of the details."""


def pages(result: EvalResult) -> tuple[Page, ...]:
    """One page."""
    first: tuple[Part | None, ...] = (
        eval_table(result),
        errors_table(result) if result.errors else None,
        Rows("eval", result.to_rows()),
        Rows("errors", [plain(error) for error in result.errors]),
    )
    details = present(
        confused_table(result), pr_plot(result), f1_plot(result), confusion_plot(result), *_curve_rows(result),
        *_pictures(result),
    )  # fmt: skip
    sections = (Section("", present(*first)), *((Section(DETAILS, details),) if details else ()))
    roles = {"result": "eval.json", "summary": "eval.md"}
    return (Page(f"AP of {result.model}", sections, "eval", result, roles=roles),)


def _pictures(result: EvalResult) -> tuple[Picture, ...]:
    """The images with boxes that were drawn."""
    files = [Path(path).name for what, path in sorted(result.files.items()) if what.startswith(DRAWN)]
    return tuple(Picture("image with its detections and true boxes", file) for file in files)


def eval_table(result: EvalResult | TrainResult, *notes: str) -> Table:
    """The scores of all classes and of each class, with additional notes; older results have only AP by class."""
    if result.classes:
        columns: tuple[str, ...] = ("class", "AP", "AP50", "P", "R", "F1", "boxes")
        means = (result.ap, result.ap50, result.precision, result.recall, result.f1)
        rows = [("all", *map(points, means), f"{result.boxes:,}")]
        names = shortened([one.name for one in result.classes])
        for name, one in zip(names, result.classes, strict=True):
            values = (one.ap, one.ap50, one.precision, one.recall, one.f1)
            rows.append((name, *map(points, values), f"{one.boxes:,}"))
    else:
        columns = ("class", "AP", "AP50")
        rows = [("all", points(result.ap), points(result.ap50))]
        names = shortened(list(result.per_class))
        rows += [(name, points(ap), "") for name, ap in zip(names, result.per_class.values(), strict=True)]
    scores = "COCO AP, precision, recall, F1 x 100" if result.classes else "COCO AP x 100"
    said = (_answer(result), _amount(result), *_cut(result), *_confused(result), *_conditions(result), *notes)
    return Table(f"{result.model}: {scores}", columns, tuple(rows), frozenset({"class"}), said, NARROW)


def shortened(names: list[str]) -> list[str]:
    """Class names of at most `LONGEST` characters; a name that would then be that of another class stays whole."""
    cut = [cropped(name, LONGEST) for name in names]
    often = Counter(cut)
    return [short if often[short] == 1 else name for name, short in zip(names, cut, strict=True)]


def _answer(result: EvalResult | TrainResult) -> str:
    """AP with its standard error, AP75, AP by size."""
    error = f" (standard error {100 * result.ap_se:.1f})" if result.ap_se is not None else ""
    sizes = f"small {points(result.ap_s)}, medium {points(result.ap_m)}, large {points(result.ap_l)}"
    return f"AP {points(result.ap)}{error}, AP75 {points(result.ap75)}; {sizes}"


def _amount(result: EvalResult | TrainResult) -> str:
    """How much was scored."""
    found = f"{counted(result.images, 'image')}, {counted(result.boxes, 'box', 'boxes')}"
    matrix = result.confusion if isinstance(result, EvalResult) else None
    absent = len(matrix.classes) - len(result.classes) if matrix else 0
    return found + (f"; no row: {counted(absent, 'class', 'classes')} without a box in these images" if absent else "")


def _cut(result: EvalResult | TrainResult) -> tuple[str, ...]:
    """Where P, R and F1 are measured."""
    if result.score_cut is None:
        return ()
    where = f"P, R, F1: IoU .5, score from {result.score_cut:.3f}: best smoothed mean F1 (Ultralytics' val)"
    alone = any(one.precision == 1 and one.recall == 0 for one in result.classes)
    note = ("P 100 beside R 0: the class has no detection from that score",) if alone else ()
    return (where, *_peak(result), *note)


def _peak(result: EvalResult | TrainResult) -> tuple[str, ...]:
    """The largest mean F1 without smoothing, if smoothing puts the cut elsewhere."""
    if not isinstance(result, EvalResult) or not result.curves or result.f1 is None:
        return ()
    best, score = max(zip(map(fmean, zip(*(one.f1 for one in result.curves), strict=True)), CURVE_SCORES, strict=True))
    if best < result.f1 + NARROW_PEAK:
        return ()
    return (
        f"mean F1 is {points(best)} at score {score:.2f}, above the {points(result.f1)} of the table: a peak too "
        "narrow for the smoothed curve",
    )


def _confused(result: EvalResult | TrainResult) -> tuple[str, ...]:
    """The most frequent confusions, and what became of all boxes and detections from the cut."""
    found = result.confusion if isinstance(result, EvalResult) else None
    if found is None:
        return ()
    pairs = [f"{cropped(true)} as {cropped(seen)} {n:,}" for true, seen, n in found.pairs()[:MOST_PAIRS]]
    right, other = _pairs(found)
    return (
        f"most confused: {', '.join(pairs)}" if pairs else "no two classes are confused",
        f"{counted(right + other + found.missed, 'box', 'boxes')}: {right:,} found, {other:,} as another class, "
        f"{found.missed:,} not found",
        f"{counted(right + other + found.false, 'detection')}: {right:,} right, {other:,} of another class, "
        f"{found.false:,} match no box",
    )


def _pairs(found: Confusion) -> tuple[int, int]:
    """Pairs of a box and a detection: of the same class, of two classes."""
    other = sum(n for _, _, n in found.pairs())
    return sum(map(sum, found.counts)) - found.missed - found.false - other, other


def _conditions(result: EvalResult | TrainResult) -> tuple[str, ...]:
    """What else decides the numbers: the convention, the time of an image."""
    said = []
    if isinstance(result, EvalResult) and result.origin.config and result.origin.config.convention == "ultralytics":
        said.append("scored like Ultralytics' val: half a stride more padding, boxes not clipped to the image")
    if isinstance(result, EvalResult) and result.latency is not None:
        said.append(_time(result, result.latency))
    return tuple(said)


def _time(result: EvalResult, latency: Latency) -> str:
    """The time of one image, with one thread and with all."""
    line = f"{result.runtime}: {latency.ms:.1f} ms an image with one thread"
    if latency.all_ms is not None and result.threads > 1:
        line += f", {latency.all_ms:.1f} ms with {result.threads}"
    return f"{line}, for the graph alone; images padded to squares"


def errors_table(result: EvalResult) -> Table:
    """Errors by kind, with the AP without each kind."""
    rows = tuple(
        (
            e.kind, signed(100 * e.d_ap), points(e.ap), signed(100 * e.d_ap50), points(e.ap50),
            "-" if e.at_cut is None else f"{e.at_cut:,}", f"{e.count:,}",
        )
        for e in result.errors
    )  # fmt: skip
    notes = (
        "without: AP x 100 without the errors of this kind alone (arXiv 2008.08115)",
        "classification: wrong class, IoU .5 on; localisation: right class, IoU .1 to .5",
        "both: wrong class, IoU .1 to .5; background: IoU below .1 with every box",
        "missed: a box without a match and without one of the first two errors",
        "a duplicate can fit the object better: without duplicates AP can fall",
        *_counts(result),
    )
    columns = ("error", "AP gain", "AP without", "AP50 gain", "AP50 without", "at cut", "any score")
    table = Table(
        f"{result.model}: errors by kind", columns, rows, frozenset({"error"}), notes, ("any score", "AP50 without")
    )
    return table if any(e.at_cut is not None for e in result.errors) else table.without("at cut")


def _counts(result: EvalResult) -> tuple[str, ...]:
    """What the columns of counts count, and how they belong to the sums of the confusion matrix."""
    config, found, at_cut = result.origin.config, result.confusion, {e.kind: e.at_cut for e in result.errors}
    said = [f"any score: number of errors from score {config.conf:g}"] if config else []
    missed = at_cut.get("missed")
    if found is None or missed is None:
        return tuple(said)
    right, other = _pairs(found)
    wrong, alone = other + found.false, other + found.missed
    near = f": {missed:,} missed, {alone - missed:,} with one of the first two errors"
    return (
        f"at cut: number of errors from score {found.score:.3f}, where P, R and F1 are measured",
        f"at cut, detections: {right + wrong:,} = {right:,} right + {wrong:,} wrong ({other:,} of another class and "
        f"{found.false:,} match no box); the first five kinds sum to {wrong:,}",
        f"at cut, boxes: {right + alone:,} = {right:,} found + {alone:,} not found as their class{near}",
        *said,
    )


def confused_table(result: EvalResult) -> Table | None:
    """The most frequent confusions of two classes; None without any."""
    found = result.confusion
    if found is None or not found.pairs():
        return None
    boxes = {name: sum(row) for name, row in zip(found.classes, found.counts, strict=False)}
    rows = tuple(
        (cropped(true, LONGEST), cropped(seen, LONGEST), f"{n:,}", f"{100 * n / boxes[true]:.0f}")
        for true, seen, n in found.pairs()[:MOST_ROWS]
    )
    more = len(found.pairs()) - len(rows)
    note = f"boxes: at IoU {found.iou:g} and score at least {found.score:.3f}; % of the boxes of the true class"
    notes = (note, *((f"{counted(more, 'rarer pair')} not shown",) if more > 0 else ()))
    columns = ("true class", "detected as", "boxes", "%")
    title = f"{result.model}: confused classes"
    return Table(title, columns, rows, frozenset({"true class", "detected as"}), notes)


def _curve_rows(result: EvalResult) -> tuple[Rows, ...]:
    """The plots' data for other programs."""
    lines = [(one.name, one) for one in result.curves]
    precision = [
        {"class": name, "recall": x, "precision": y}
        for name, one in lines for x, y in zip(CURVE_RECALLS, one.precision, strict=True)
    ]  # fmt: skip
    f1 = [
        {"class": name, "score": x, "f1": y} for name, one in lines for x, y in zip(CURVE_SCORES, one.f1, strict=True)
    ]
    cells = [] if result.confusion is None else _cells(result.confusion)
    return Rows("pr_curve", precision), Rows("f1_curve", f1), Rows("confusion", cells)


def _cells(found: Confusion) -> list[dict[str, Any]]:
    """A row per cell of the confusion matrix that is not empty."""
    true, seen = (*found.classes, NO_BOX), (*found.classes, NOT_FOUND)
    return [
        {"true": true[i], "detected": seen[j], "boxes": n, "iou": found.iou, "score": found.score}
        for i, row in enumerate(found.counts) for j, n in enumerate(row) if n
    ]  # fmt: skip
