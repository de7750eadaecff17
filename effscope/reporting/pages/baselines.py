"""What a search's chosen model is compared with: your model, smaller images, int8, another model."""

from __future__ import annotations

from effscope.reporting.page import Part, Rows, Table, points
from effscope.results import Baseline, SearchResult, plain

BASE = "the base"
"""Name of the row that the others are compared with."""

COLUMNS = ("form", "true AP", "AP", "vs base", "ms", "time", "ms all", "torch ms")
NARROW = ("ms all", "vs base")
"""Columns that a narrow terminal leaves out, in this order."""


def beaten(result: SearchResult) -> str | None:
    """A sentence if something else is at least as fast and as good as the chosen model; None if not."""
    chosen = next((one for one in result.baselines if one.chosen), None)
    if chosen is None or chosen.latency is None:
        return None
    better = [
        one for one in result.baselines
        if not one.chosen and one.latency and one.latency.ms <= chosen.latency.ms and one.ap >= chosen.ap
    ]  # fmt: skip
    if not better:
        return None
    best = max(better, key=lambda one: one.ap)
    assert best.latency is not None
    times = f"{best.latency.ms:.1f} against {chosen.latency.ms:.1f} ms"
    return (
        f"{best.name} is at least as fast as the chosen model ({times}) and has as much AP ({points(best.ap)} against "
        f"{points(chosen.ap)}): {'take it instead' if best.rival else 'it needs no changed layer'}"
    )


def baselines_table(result: SearchResult) -> tuple[Part, ...]:
    """A row per form."""
    first = next(one for one in result.baselines if one.name == BASE)
    rows = [_row(one, first) for one in result.baselines]
    timed = any(one.latency for one in result.baselines)
    several = result.threads > 1 and any(one.latency and one.latency.all_ms for one in result.baselines)
    hidden = (frozenset() if timed else {"ms", "time"}) | (frozenset() if several else {"ms all"})
    hidden |= frozenset() if any(one.true_ap is not None for one in result.baselines) else {"true AP"}
    hidden |= frozenset() if any(one.torch for one in result.baselines) else {"torch ms"}
    columns = tuple(column for column in COLUMNS if column not in hidden)
    notes: tuple[str, ...] = (
        f"AP x 100 of the weights of the first run, at {result.imgsz} px where no size is given; the base had the same "
        "short training as the chosen model; in onnxruntime images are padded to squares, so AP differs a little",
        "int8: static, weights per channel, ranges from training images, the closing convolutions in float32; a "
        "device's own int8 may differ",
    )
    cells = tuple(tuple(row[column] for column in columns) for row in rows)
    if "true AP" not in hidden:
        notes = (*notes, "'AP' is agreement with your model; 'true AP' is of the labels that the images have after all")
    table = Table("the chosen model and what needs no change", columns, cells, frozenset({"form"}), notes, NARROW)
    return (table, Rows("baselines", [_flat(one) for one in result.baselines]))


def _row(one: Baseline, first: Baseline) -> dict[str, str]:
    ms = one.latency.ms if one.latency else None
    whole = first.latency.ms if first.latency else None
    return {
        "form": one.name,
        "true AP": "" if one.true_ap is None else points(one.true_ap),
        "torch ms": "" if one.torch is None else f"{one.torch.ms:.1f}",
        "AP": points(one.ap),
        "vs base": "" if one is first else f"{100 * (one.ap - first.ap):+.1f}",
        "ms": "" if ms is None else f"{ms:.1f}",
        "time": "" if ms is None or not whole or one is first else f"{100 * (ms / whole - 1):+.0f} %",
        "ms all": "" if one.latency is None or one.latency.all_ms is None else f"{one.latency.all_ms:.1f}",
    }


def _flat(one: Baseline) -> dict[str, object]:
    row: dict[str, object] = dict(plain(one))
    for field, prefix in (("latency", "latency"), ("torch", "torch")):
        times = row.pop(field)
        values = times if isinstance(times, dict) else dict.fromkeys(("ms", "iqr_ms", "all_ms", "all_iqr_ms"))
        row |= {f"{prefix}_{name}": value for name, value in values.items()}
    return row
