"""Results as tables of text: what each column says is decided here, how it is drawn in `render`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from effscope import results

if TYPE_CHECKING:
    from effscope.results import (
        EvalResult,
        ExportResult,
        SearchResult,
        TrainResult,
        ZooResult,
        ZooRow,
    )

BAR_WIDTH = 12


@dataclass(frozen=True)
class Table:
    """Text ready to draw. `left` names the columns set flush left, the others are numbers; `narrow` those that a
    narrow terminal goes without, the first first."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    narrow: tuple[str, ...] = ()

    def without(self, column: str) -> Table:
        """The table less one column."""
        n = self.columns.index(column)
        rows = tuple((*row[:n], *row[n + 1 :]) for row in self.rows)
        return replace(self, columns=(*self.columns[:n], *self.columns[n + 1 :]), rows=rows)


def short(n: float, units: Sequence[tuple[float, str]] = ((1e9, "G"), (1e6, "M"), (1e3, "k"))) -> str:
    for size, unit in units:
        if n >= size:
            return f"{n / size:,.2f} {unit}"
    return f"{n:,.0f}"


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"


def bar(fraction: float, width: int = BAR_WIDTH) -> str:
    """A horizontal bar of block characters, `width` cells for 1.0."""
    eighths = round(max(0.0, min(fraction, 1.0)) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")


def points(ap: float | None) -> str:
    """AP as people write it, times 100; a dash where there is none."""
    return "-" if ap is None else f"{100 * ap:.1f}"


def eval_table(result: EvalResult | TrainResult) -> Table:
    """AP over all classes and of each one."""
    head = ("all", points(result.ap), points(result.ap50), points(result.ap75))
    rows = [head, *((name, points(ap), "", "") for name, ap in result.per_class.items())]
    sizes = f"small {points(result.ap_s)}, medium {points(result.ap_m)}, large {points(result.ap_l)}"
    notes = [f"{result.images} images, {result.boxes} boxes; AP by size: {sizes}"]
    if getattr(result.origin.config, "convention", "") == "ultralytics":
        notes.append("as Ultralytics' val scores: half a stride more padding, boxes not cut at the picture's edge")
    if result.ap_se is not None:
        notes.append(f"standard error of AP over images: {100 * result.ap_se:.1f}")
    if isinstance(result, results.TrainResult):
        notes.append(
            f"{result.epochs} epochs in {result.seconds:.0f} s, {result.images_per_s:.1f} images/s, "
            f"peak memory {result.peak_memory_mb:,.0f} MB"
        )
        notes += [result.transfer] if result.transfer else []
        notes += result.notes
    return Table(
        f"{result.model}: COCO AP x 100",
        ("class", "AP", "AP50", "AP75"),
        tuple(rows),
        frozenset({"class"}),
        tuple(notes),
    )


def errors_table(result: EvalResult | TrainResult) -> Table:
    """What stands between a detector and full AP."""
    rows = tuple(
        (e.kind, f"{e.count:,}", f"{100 * e.d_ap50:+.1f}", points(e.ap50), f"{100 * e.d_ap:+.1f}", points(e.ap))
        for e in result.errors
    )
    notes = (
        "without: AP x 100 if errors of that kind were not there, each by itself (arXiv 2008.08115, IoU .5 and .1)",
        "classification: right place, wrong class; localisation: right class, IoU .1 to .5; missed: nothing came near",
        "a duplicate may be the better placed of two: without them AP over IoU .5 to .95 can fall",
    )
    columns = ("error", "count", "AP50", "without", "AP", "without ")
    return Table(f"{result.model}: errors by kind", columns, rows, frozenset({"error"}), notes)


def search_table(result: SearchResult) -> Table:
    """Every tried stage beside the base."""
    base = (
        "base", "", f"{result.base_params / 1e6:.2f} M", f"{result.base_flops / 1e9:.2f} G",
        points(result.base_ap_start), points(result.base_ap), "", "",
    )  # fmt: skip
    rows = [base]
    for t in result.trials:
        rows.append(
            (
                str(t.stage),
                t.move,
                f"{100 * (t.params / result.base_params - 1):+.1f} %",
                f"{100 * (t.flops / result.base_flops - 1):+.1f} %",
                points(t.ap_start),
                points(t.ap_mean),
                f"{100 * t.delta:+.1f}",
                t.verdict,
            )
        )
    saved = result.saved
    kept = ", ".join(str(change.stage) for change in result.accepted) or "none"
    notes = (
        f"kept: stages {kept}   params {-100 * saved['params']:+.1f} %   FLOPs {-100 * saved['flops']:+.1f} %   "
        f"latency {-100 * saved['latency']:+.1f} % (measured here, float32, one image)",
        f"stopped: {result.stop_reason}   wall time {result.seconds / 60:.1f} min",
        "AP x 100; 'at once': before the short training, the new block only fitted to the one it replaces",
        *result.notes,
    )
    columns = ("stage", "swap", "params", "FLOPs", "AP at once", "AP trained", "vs base", "verdict")
    return Table(f"search on {result.base}", columns, tuple(rows), frozenset({"swap", "verdict"}), notes)


def export_table(result: ExportResult) -> Table:
    """The files a model was written to."""
    rows = tuple(result.files.items())
    title = f"{result.model} for images of {result.imgsz} px"
    return Table(title, ("format", "file"), rows, frozenset({"format", "file"}), result.notes)


MOST_NOTES = 9

COUNT_NAMES = {"params": "params", "params_deploy": "deploy", "macs": "MACs", "conv_flops": "conv FLOPs"}
"""Count of a ZooRow -> its column."""


def zoo_table(result: ZooResult) -> Table:
    """Models beside what was published of them, with the difference in brackets."""
    params, work = result.compares
    rows = tuple(_zoo_row(row, params, work) for row in result.models)
    built = ("params",) if params != "params" else ()
    columns = ("model", *built, COUNT_NAMES[params], "published", COUNT_NAMES[work], "published ", "AP")
    notes = [f"{result.size}; published: {result.source}; in brackets: ours - published"]
    if any(row.params is None for row in result.models):
        notes.append("-: cannot be expressed yet")
    notes += [f"{row.model}*: {row.note}" for row in result.models if row.params is not None and row.note][:MOST_NOTES]
    shown = tuple(row[:1] + row[1 + (not built) :] for row in rows)
    return Table(result.title, columns, shown, frozenset({"model"}), tuple(notes))


def _zoo_row(row: ZooRow, params: str, work: str) -> tuple[str, ...]:
    ap = "" if row.ap is None else f"{row.ap:.1f}"
    if row.params is None:
        published = (_against(row.published_params_m, None, "M"), "", _against(row.published_flops_g, None, "G"))
        return (row.model, "-", "-", *published, ap)
    of_params, of_work = getattr(row, params) / 1e6, getattr(row, work) / 1e9
    return (
        row.model + ("*" if row.note else ""),
        f"{row.params:,}",
        f"{of_params:.2f} M",
        _against(row.published_params_m, of_params, "M"),
        f"{of_work:.2f} G",
        _against(row.published_flops_g, of_work, "G"),
        ap,
    )


def _against(published: float | None, ours: float | None, unit: str) -> str:
    if published is None:
        return ""
    return f"{published:g} {unit}" + ("" if ours is None else f" ({round(ours - published, 2) + 0.0:+.2f})")
