"""AP of a detector, and its errors by kind."""

from __future__ import annotations

from effscope.reporting.page import Page, Section, Table, points
from effscope.results import EvalResult, Latency, TrainResult


def pages(result: EvalResult) -> tuple[Page, ...]:
    """One page."""
    tables = (eval_table(result), *((errors_table(result),) if result.errors else ()))
    roles = {"result": "eval.json", "summary": "eval.md"}
    return (Page(f"AP of {result.model}", (Section("", tables),), "eval", result, roles=roles),)


def eval_table(result: EvalResult | TrainResult, *notes: str) -> Table:
    """AP over all classes and per class, with additional notes."""
    head = ("all", points(result.ap), points(result.ap50), points(result.ap75))
    rows = (head, *((name, points(ap), "", "") for name, ap in result.per_class.items()))
    sizes = f"small {points(result.ap_s)}, medium {points(result.ap_m)}, large {points(result.ap_l)}"
    said = [f"{result.images} images, {result.boxes} boxes; AP by size: {sizes}"]
    if isinstance(result, EvalResult) and result.origin.config and result.origin.config.convention == "ultralytics":
        said.append("scored like Ultralytics' val: half a stride more padding, boxes not clipped to the image")
    if isinstance(result, EvalResult) and result.latency is not None:
        said.append(_time(result, result.latency))
    if result.ap_se is not None:
        said.append(f"standard error of AP over images: {100 * result.ap_se:.1f}")
    columns = ("class", "AP", "AP50", "AP75")
    return Table(f"{result.model}: COCO AP x 100", columns, rows, frozenset({"class"}), (*said, *notes))


def _time(result: EvalResult, latency: Latency) -> str:
    """The time of one image, with one thread and with all."""
    line = f"{result.runtime}: {latency.ms:.1f} ms an image with one thread"
    if latency.all_ms is not None and result.threads > 1:
        line += f", {latency.all_ms:.1f} ms with {result.threads}"
    return f"{line}, for the graph alone; images padded to squares"


def errors_table(result: EvalResult) -> Table:
    """Errors by kind, with the AP without each kind."""
    rows = tuple(
        (e.kind, f"{e.count:,}", f"{100 * e.d_ap50:+.1f}", points(e.ap50), f"{100 * e.d_ap:+.1f}", points(e.ap))
        for e in result.errors
    )
    notes = (
        "without: AP x 100 without errors of this kind only (arXiv 2008.08115, IoU .5 and .1)",
        "classification: correct box, wrong class; localisation: correct class, IoU .1 to .5; missed: no match",
        "a duplicate can fit the object better: without duplicates AP over IoU .5 to .95 can fall",
    )
    columns = ("error", "count", "AP50", "without", "AP", "without ")
    return Table(f"{result.model}: errors by kind", columns, rows, frozenset({"error"}), notes)
