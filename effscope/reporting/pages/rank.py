"""Ranks of one model, and of several side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from effscope.reporting.page import Page, Part, Rows, Section, Table, Text, bar, single
from effscope.reporting.pages.heads import heads_table
from effscope.reporting.pages.rank_order import order_notes, orders_table, shortened
from effscope.reporting.plots.rank import compared_plot, rank_plot, spectra_plot
from effscope.results import RankResult, StageRank, plain
from effscope.thresholds import read_threshold

WHERE = {
    "stage": "closing conv of each stage",
    "block": "last conv of each stage's last block",
    "all": "every convolution and linear layer, in order",
}
"""`at` of a definition in words."""

COLUMNS = ("stage", "layer", "ratio", " ", "random", "rank", "  ", "shape")
NARROW = ("shape", " ")
"""Columns that a narrow terminal leaves out, in this order."""

MARKS = {
    "=": "equal ratio with another stage, ordered by stage number",
    "~": "a singular value is equal to the threshold: rounding may change the count",
    "!": "one very large singular value makes the count small: without it {}",
}
RANDOM = "random: the ratio of a Gaussian matrix of that shape; far below it, channels are not used"
UNTRAINED = "untrained weights: these are ranks of random matrices; they say nothing about redundancy"
MOST_NOTES = 4


def pages(*results: RankResult) -> tuple[Page, ...]:
    """One page per model; for several models also a page that compares them."""
    stems = _stems(results)
    joint = _joint(results)
    if len(results) == 1:
        return (_page(results[0], stems[0], joint),)
    own = [_page(result, stem, ()) for result, stem in zip(results, stems, strict=True)]
    parts: tuple[Part, ...] = (compared_table(results), compared_plot(results), *joint)
    return (*own, Page("Ranks side by side", (Section("", parts),), "compared"))


def _page(result: RankResult, stem: str, further: Sequence[Part]) -> Page:
    heads = heads_table(result) if result.attention else None
    parts = (
        warning_text(result),
        rank_table(result),
        heads,
        Rows(stem, result.to_rows()),
        rank_plot(result, stem),
    )
    details = (measures_table(result), orders_table(result))
    return single(stem, result, *parts, *further, title=f"Ranks of {result.model}", details=details)


def _joint(results: Sequence[RankResult]) -> tuple[Part, ...]:
    """Parts for all models together: spectra, orders, heads."""
    plot = spectra_plot(results)
    return (
        Rows("spectra", spectra_rows(results)),
        *((plot,) if plot else ()),
        Rows("orders", _orders(results)),
        Rows("heads", _heads(results)),
    )


def _stems(results: Sequence[RankResult]) -> list[str]:
    """A unique file name per model."""
    if len(results) == 1:
        return ["rank"]
    found: list[str] = []
    for result in results:
        stem = "rank-" + re.sub(r"[^\w.-]+", "-", result.model).strip("-.")
        found.append(f"{stem}-{len(found) + 1}" if stem in found else stem)
    return found


def spectra_rows(results: Sequence[RankResult]) -> list[dict[str, Any]]:
    """One row per singular value."""
    return [
        {"model": result.model, "stage": s.stage, "layer": s.layer, "number": n, "value": v, "of_largest": v / top}
        for result in results
        for s in result.spectra
        for top in [s.values[0] if s.values and s.values[0] > 0 else 1.0]
        for n, v in enumerate(s.values, 1)
    ]


def _orders(results: Sequence[RankResult]) -> list[dict[str, Any]]:
    return [
        {
            "model": result.model,
            **plain(variant),
            "ties": " | ".join(" ".join(map(str, group)) for group in variant.ties),
        }
        for result in results
        for variant in result.stability
    ]


def _heads(results: Sequence[RankResult]) -> list[dict[str, Any]]:
    return [{"model": result.model, **plain(use)} for result in results for use in result.attention]


def warning_text(result: RankResult) -> Text | None:
    """A warning above the table; None for trained weights."""
    return Text((UNTRAINED,)) if result.definition.weights == "random" else None


def rank_table(result: RankResult) -> Table:
    """Stages in ascending rank, and what their order is worth."""
    notes = (*order_notes(result), *_mark_notes(result), *_row_notes(result), *_definition(result))
    trained = result.definition.weights != "random"
    table = Table(
        f"{result.model}: " + ("a low rank means a redundant stage" if trained else "ranks of untrained weights"),
        COLUMNS,
        tuple(map(_row, result.stages)),
        frozenset({"layer", " ", "  "}),
        tuple(note for note in notes if note),
        NARROW,
    )
    return table if result.definition.of == "weights" else table.without("random")


def _marks(row: StageRank) -> str:
    return ("=" if row.tie else "") + ("~" if row.threshold_tie else "") + ("!" if row.spike else "")


def _row(row: StageRank) -> tuple[str, ...]:
    shape = f"{row.shape[0]} x {row.shape[1]}"
    name = row.layer.removesuffix(".conv")
    if row.rank is None or row.ratio is None:
        return (str(row.stage), name, "", row.note.partition(":")[0], "", "n/a", "", shape)
    null = "-" if row.null_ratio is None else f"{row.null_ratio:.2f}"
    ratio, rank = f"{row.ratio:.2f}", f"{row.rank}/{row.c_out}"
    return (str(row.stage), name, ratio, bar(row.ratio), null, rank, _marks(row), shape)


def measures_table(result: RankResult) -> Table | None:
    """Further measures of each spectrum; None if no stage has a rank."""
    ranked = [row for row in result.stages if row.rank is not None]
    if not ranked:
        return None
    rows = tuple(
        (
            str(row.stage),
            row.layer.removesuffix(".conv"),
            f"{row.effective_rank or 0:.0f}",
            f"{row.stable_rank or 0:.1f}",
            "-" if row.top_gap is None else f"{row.top_gap:.2f}",
            "-" if row.separability_1 is None else f"{row.separability_1:.2f}",
            "-" if row.separability_2 is None else f"{row.separability_2:.2f}",
        )
        for row in ranked
    )
    notes = (
        "effective: effective rank, exp of the entropy of the singular values divided by their sum",
        "stable: stable rank, the sum of the squared singular values / the largest square",
        "gap: largest / second largest singular value",
        "1 term, 2 terms: share of the energy of the stage's convolutions larger than 1x1 that one or two "
        "depthwise-separable terms keep",
    )
    columns = ("stage", "layer", "effective", "stable", "gap", "1 term", "2 terms")
    return Table("further measures", columns, rows, frozenset({"layer"}), notes)


def _definition(result: RankResult) -> list[str]:
    d = result.definition
    if d.of == "weights":
        of = "weights, batch norm folded in" if d.fold_bn else "weights, raw"
    else:
        of = f"outputs of the convolution, {'mean subtracted' if d.centred else 'mean not subtracted'}, {d.of}"
    return [
        result.source,
        f"ratio: rank / output channels; rank: {read_threshold(d.threshold).words}; {of}",
        f"layer: {WHERE[d.at]}"
        + ("" if d.at == "all" else "; stage: blocks at one resolution, numbered from the input"),
        RANDOM if d.of == "weights" else "",
        *result.notes,
    ]


def _mark_notes(result: RankResult) -> list[str]:
    shown = "".join(map(_marks, result.stages))
    spiked = [f"stage {r.stage} has {r.rank_without_top}/{r.c_out}" for r in result.stages if r.spike]
    without = shortened(spiked, ", ")
    return [f"{mark} {words.format(without)}" for mark, words in MARKS.items() if mark in shown]


def _row_notes(result: RankResult) -> list[str]:
    """Each distinct note once, with its stages."""
    of: dict[str, list[str]] = {}
    for row in sorted(result.stages, key=lambda row: row.stage):
        if row.note:
            of.setdefault(row.note, []).append(str(row.stage))
    told = [
        f"{'stage' if len(stages) == 1 else 'stages'} {shortened(stages, ', ')}: {note}" for note, stages in of.items()
    ]
    return told[:MOST_NOTES] + ([f"and {len(told) - MOST_NOTES} more such notes"] if len(told) > MOST_NOTES else [])


def compared_table(results: Sequence[RankResult]) -> Table:
    """Ratios of several models, stages in forward order, and the similarity of their orders."""
    names = [result.model for result in results]
    stages = sorted({row.stage for result in results for row in result.stages})
    ratios = [result.ratios() for result in results]
    rows = tuple((str(stage), *(f"{r[stage]:.2f}" if stage in r else "-" for r in ratios)) for stage in stages)
    first = {v.name: v.tau for v in results[0].stability}
    taus = [
        f"{name} {first[key]:.2f}" for name in names[1:] if (key := f"model {name}") in first and first[key] is not None
    ]
    notes = [f"Kendall tau against {names[0]}: {', '.join(taus)}"] if taus else []
    unlike = [r.model for r in results[1:] if len(results[0].same_layers(r)) < len(r.stages)]
    if unlike:
        notes.append(f"some stages are other layers than in {names[0]}: {', '.join(unlike)}")
    untrained = [result.model for result in results if result.definition.weights == "random"]
    if untrained:
        notes.append(f"untrained weights, their ranks say nothing about redundancy: {', '.join(untrained)}")
    return Table("rank / output channels, by stage", ("stage", *names), rows, notes=tuple(notes))
