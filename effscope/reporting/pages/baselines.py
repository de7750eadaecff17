"""What a search's chosen model is compared with: smaller images and int8, which change no layer."""

from __future__ import annotations

from effscope.reporting.page import Part, Rows, Table, points
from effscope.results import Baseline, SearchResult, plain

COLUMNS = ("form", "AP", "vs base", "ms", "time", "ms all")


def beaten(result: SearchResult) -> str | None:
    """A sentence if a form of the user's model is at least as fast and as good as the chosen one; None if not."""
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
        f"{points(chosen.ap)}): it needs no changed layer"
    )


def baselines_table(result: SearchResult) -> tuple[Part, ...]:
    """A row per form, the base first."""
    first = result.baselines[0]
    rows = [_row(one, first) for one in result.baselines]
    timed = any(one.latency for one in result.baselines)
    several = result.threads > 1 and any(one.latency and one.latency.all_ms for one in result.baselines)
    hidden = (frozenset() if timed else {"ms", "time"}) | (frozenset() if several else {"ms all"})
    columns = tuple(column for column in COLUMNS if column not in hidden)
    notes = (
        f"AP x 100 of the weights of the first run, at {result.imgsz} px where no size is given; the base had the same "
        "short training as the chosen model; in onnxruntime images are padded to squares, so AP differs a little",
        "int8: static, weights per channel, ranges from training images, the closing convolutions in float32; a "
        "device's own int8 may differ",
    )
    cells = tuple(tuple(row[column] for column in columns) for row in rows)
    table = Table("without changing a layer", columns, cells, frozenset({"form"}), notes)
    return (table, Rows("baselines", [_flat(one) for one in result.baselines]))


def _row(one: Baseline, first: Baseline) -> dict[str, str]:
    ms = one.latency.ms if one.latency else None
    whole = first.latency.ms if first.latency else None
    return {
        "form": one.name,
        "AP": points(one.ap),
        "vs base": "" if one is first else f"{100 * (one.ap - first.ap):+.1f}",
        "ms": "" if ms is None else f"{ms:.1f}",
        "time": "" if ms is None or not whole or one is first else f"{100 * (ms / whole - 1):+.0f} %",
        "ms all": "" if one.latency is None or one.latency.all_ms is None else f"{one.latency.all_ms:.1f}",
    }


def _flat(one: Baseline) -> dict[str, object]:
    row = plain(one)
    latency = row.pop("latency") or {"ms": None, "iqr_ms": None, "all_ms": None, "all_iqr_ms": None}
    return {**row, **{f"latency_{name}": value for name, value in latency.items()}}
