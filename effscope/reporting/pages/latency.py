"""Measured and predicted times: one row a model, then every part."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, sqrt

from effscope.config import size_words
from effscope.reporting.page import Page, Part, Rows, Table, Text, signed, single, warning
from effscope.reporting.pages.cost import FUSED
from effscope.reporting.plots.latency import TOTAL, latency_plot, measured_on
from effscope.results import LatencyResult, LatencyRow

COLUMNS = ("model", "ms", "time", "IQR", "with boxes", "predicted", "x predicted")
MEDIAN_ERROR = 0.93
"""Standard error of the median of n normal numbers: this times their interquartile range / sqrt(n)."""

NARROW = ("x predicted", "IQR")
"""Columns that a narrow terminal leaves out, in this order."""


def pages(result: LatencyResult) -> tuple[Page, ...]:
    """One page."""
    parts = (
        warning(result.notes), latency_table(result), latency_plot(result), Rows("latency", result.to_rows())
    )  # fmt: skip
    tables: list[Part] = [parts_table(result, model) for model in _models(result)]
    details = (*tables, Text(_prediction(result)))
    return (single("latency", result, *parts, title=f"Time on {measured_on(result)}", details=details),)


def _models(result: LatencyResult) -> list[str]:
    return list(dict.fromkeys(row.model for row in result.rows))


def _of(result: LatencyResult, model: str, kind: str) -> list[LatencyRow]:
    return [row for row in result.rows if row.model == model and row.kind == kind]


def with_boxes(result: LatencyResult, model: str) -> LatencyRow | None:
    """The total with the first post-processing of a model; None if it has none."""
    return next((row for row in _of(result, model, "total") if row.part.startswith(TOTAL)), None)


def latency_table(result: LatencyResult) -> Table:
    """A row per model: the forward pass, against the first model, with post-processing, and predicted."""
    models = _models(result)
    first = _of(result, models[0], "whole")[0]
    rows = [_row(result, model, first) for model in models]
    hidden = {column for column in COLUMNS if not any(row[column] for row in rows)}
    columns = tuple(column for column in COLUMNS if column not in hidden)
    cells = tuple(tuple(row[column] for column in columns) for row in rows)
    title = f"one image of {size_words(result.imgsz)} on {measured_on(result)}"
    return Table(title, columns, cells, frozenset({"model"}), _notes(result, columns, first.model), NARROW)


def _row(result: LatencyResult, model: str, first: LatencyRow) -> dict[str, str]:
    whole, total = _of(result, model, "whole")[0], with_boxes(result, model)
    predicted = whole.predicted_ms
    compared = predicted and result.predicted_for.startswith(result.device)
    change = 100 * (whole.median_ms / first.median_ms - 1)
    several = len(_models(result)) > 1
    return {
        "model": model,
        "ms": f"{whole.median_ms:.2f}",
        "time": "" if not several or whole is first else f"{signed(change, 0)} %",
        "IQR": f"{whole.iqr_ms:.2f}",
        "with boxes": "" if total is None else f"{total.median_ms:.2f}",
        "predicted": "" if predicted is None else f"{predicted:.2f}",
        "x predicted": f"{whole.median_ms / predicted:.1f}" if compared and predicted else "",
    }


def _notes(result: LatencyResult, columns: Sequence[str], first: str) -> tuple[str, ...]:
    posts = {model: total.part.removeprefix(TOTAL) for model in _models(result) if (total := with_boxes(result, model))}
    by_post: dict[str, list[str]] = {}
    for model, post in posts.items():
        by_post.setdefault(post, []).append(model)
    how = "; ".join(post if len(by_post) == 1 else f"{', '.join(models)}: {post}" for post, models in by_post.items())
    lines = {
        "ms": f"ms: forward pass, median of {result.rounds} rounds, models in turn; IQR: interquartile range, ms",
        "time": f"time: against {first}",
        "with boxes": f"with boxes: ms with post-processing ({how})",
        "predicted": f"predicted: ms by a roofline of {result.predicted_for}, {result.predicted_dtype}",
    }
    return (*(words for column, words in lines.items() if column in columns), *_alike(result))


def _alike(result: LatencyResult) -> tuple[str, ...]:
    """Models whose difference to the first is within two standard errors of the medians."""
    first, *others = (_of(result, model, "whole")[0] for model in _models(result))
    alike = [
        one.model for one in others if abs(one.median_ms - first.median_ms) < 2 * _error(one, first, result.rounds)
    ]
    return (f"no difference shown between {first.model} and {', '.join(alike)}: the noise is larger",) if alike else ()


def _error(one: LatencyRow, other: LatencyRow, rounds: int) -> float:
    """Standard error of the difference of two medians, in ms, as for normal noise."""
    return MEDIAN_ERROR * hypot(one.iqr_ms, other.iqr_ms) / sqrt(rounds)


def _prediction(result: LatencyResult) -> tuple[str, ...]:
    """What the prediction is made of, and how far the parts sum to the whole."""
    return (
        f"roofline: {result.peak / 1e9:,.0f} GFLOP/s, {result.bandwidth / 1e9:,.1f} GB/s, ridge at "
        f"{result.ridge:.1f} FLOPs per byte ({result.source}); {FUSED[result.fused]}",
        *(
            f"{model}: the parts, timed inside the forward pass, sum to {100 * share:.0f} % of it"
            for model, share in result.parts_over_whole.items()
        ),
    )


def parts_table(result: LatencyResult, model: str) -> Table:
    """Every part of one model; the forward pass stands once."""
    same_device = result.predicted_for.startswith(result.device)
    rows = [row for row in result.rows if row.model == model and (row.kind != "total" or row.part.startswith(TOTAL))]
    notes = (
        "forward: without post-processing, Latency^f of the YOLOv10 paper",
        "x predicted: measured / predicted",
        "bound: what limits most of the predicted time",
    )
    columns = ("part", "ms", "IQR", "predicted", "x predicted", "bound")
    cells = tuple(_part(row, same_device) for row in rows)
    return Table(f"{model}, part by part", columns, cells, frozenset({"part", "bound"}), notes, ("bound", "IQR"))


def _part(row: LatencyRow, same_device: bool) -> tuple[str, ...]:
    """Cells of a row. Compares only when the prediction is for the measured device."""
    predicted, ratio = "", ""
    if row.predicted_ms is not None:
        predicted = f"{row.predicted_ms:.3f}"
        ratio = f"{row.median_ms / row.predicted_ms:.1f}" if row.predicted_ms and same_device else ""
    part = row.part.replace(TOTAL, "forward + ") if row.kind == "total" else row.part
    return (part, f"{row.median_ms:.3f}", f"{row.iqr_ms:.3f}", predicted, ratio, row.bound)
