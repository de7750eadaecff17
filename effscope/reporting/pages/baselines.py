"""What a search's chosen model is compared with: your model, smaller images, int8, another model."""

from __future__ import annotations

from effscope.config.search import NO_LABELS
from effscope.reporting.page import Part, Rows, Table, points, signed
from effscope.results import Baseline, SearchResult, plain

BASE = "the base"
"""Name of the row that the others are compared with."""

GIVEN, CHOSEN = "your model", "the chosen model"

COLUMNS = ("form", "true AP", "AP", "vs base", "ms", "time", "ms all", "torch ms")
NARROW = ("ms all", "vs base")
"""Columns that a narrow terminal leaves out, in this order."""


def beaten(result: SearchResult) -> str | None:
    """A sentence if something else is at least as fast and as good as the chosen model; None if not."""
    chosen = next((one for one in result.baselines if one.chosen), None)
    if chosen is None or chosen.latency is None:
        return None
    faster = [one for one in result.baselines if not one.chosen and one.latency and one.latency.ms <= chosen.latency.ms]
    better = [one for one in faster if _as_good(one, chosen, result, 0.0)]
    within = [one for one in faster if _as_good(one, chosen, result, result.margin)]
    if not within:
        return None
    best = max(better or within, key=lambda one: one.ap)
    assert best.latency is not None
    times = f"{best.latency.ms:.1f} against {chosen.latency.ms:.1f} ms"
    much = "has as much AP" if better else "is below its AP by less than the margin"
    return (
        f"{best.name} is at least as fast as the chosen model ({times}) and {much} ({points(best.ap)} against "
        f"{points(chosen.ap)}, measured in turn): {'take it instead' if best.rival else 'it needs no changed layer'}"
    )


def _as_good(one: Baseline, chosen: Baseline, result: SearchResult, margin: float) -> bool:
    """Whether a form has the chosen model's AP less a margin: the true one if it is known. Agreement of your model with
    itself is no AP."""
    if one.true_ap is not None and chosen.true_ap is not None:
        return one.true_ap >= chosen.true_ap - margin
    return one.ap >= chosen.ap - margin and not (without_labels(result) and one.name in (GIVEN, BASE))


def without_labels(result: SearchResult) -> bool:
    """Whether AP is agreement with the user's model."""
    return result.origin.config is not None and result.origin.config.labels == NO_LABELS


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
    cells = tuple(tuple(row[column] for column in columns) for row in rows)
    notes = _notes(result, "true AP" not in hidden)
    table = Table("measured in turn", columns, cells, frozenset({"form"}), notes, NARROW)
    return (table, Rows("baselines", [_flat(one) for one in result.baselines]))


def _notes(result: SearchResult, has_true_ap: bool) -> tuple[str, ...]:
    """What the rows are."""
    finished = result.finish is not None and result.finish.kept
    trained = "the chosen model had the training at the end, the base did not" if finished else (
        "base and chosen model had the same short training, the weights are those of the first run"
    )  # fmt: skip
    notes = [f"AP x 100, at {result.imgsz} px where no size is given; {trained}"]
    if any(one.name == GIVEN or one.rival for one in result.baselines):
        notes.append("your model and other models are measured as they were given")
    if result.runtime.startswith("onnxruntime"):
        notes.append("onnxruntime: images are padded to squares, so AP differs a little from that in torch")
    if any("int8" in one.name for one in result.baselines):
        notes.append(
            "int8: static, weights per channel, ranges from training images, the closing convolutions in float32; a "
            "device's own int8 may differ"
        )
    if has_true_ap:
        notes.append("'AP' is agreement with your model; 'true AP' is of the labels that the images have after all")
    return tuple(notes)


def _row(one: Baseline, first: Baseline) -> dict[str, str]:
    ms = one.latency.ms if one.latency else None
    whole = first.latency.ms if first.latency else None
    return {
        "form": one.name,
        "true AP": "" if one.true_ap is None else points(one.true_ap),
        "torch ms": "" if one.torch is None else f"{one.torch.ms:.1f}",
        "AP": points(one.ap),
        "vs base": "" if one is first else signed(100 * (one.ap - first.ap)),
        "ms": "" if ms is None else f"{ms:.1f}",
        "time": "" if ms is None or not whole or one is first else f"{signed(100 * (ms / whole - 1), 0)} %",
        "ms all": "" if one.latency is None or one.latency.all_ms is None else f"{one.latency.all_ms:.1f}",
    }


def _flat(one: Baseline) -> dict[str, object]:
    row: dict[str, object] = dict(plain(one))
    for field, prefix in (("latency", "latency"), ("torch", "torch")):
        times = row.pop(field)
        values = times if isinstance(times, dict) else dict.fromkeys(("ms", "iqr_ms", "all_ms", "all_iqr_ms"))
        row |= {f"{prefix}_{name}": value for name, value in values.items()}
    return row
