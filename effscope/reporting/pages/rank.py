"""Ranks, the stability of their order, and attention heads; comparison of several models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from effscope.reporting.page import Page, Part, Rows, Section, Table, bar, warning
from effscope.reporting.plots.rank import compared_plot, rank_plot, spectra_plot
from effscope.results import HeadUse, RankResult, StageRank, plain
from effscope.thresholds import read_threshold

WHERE = {
    "stage": "closing conv of each stage",
    "block": "last conv of each stage's last block",
    "all": "every convolution and linear layer, in order",
}
"""`at` of a definition in words."""

COLUMNS = ("stage", "layer", "shape", "rank", "ratio", " ", "random", "eff.", "stable", "gap", "separable")
NARROW = ("stable", "gap", "eff.", "separable")
"""Columns that a narrow terminal leaves out, in this order."""

MARKS = {
    "=": "equal ratio with another stage, ordered by stage number",
    "~": "a singular value is equal to the threshold: rounding may change the count",
    "!": "the largest singular value decides the count: without it {}",
}
RANDOM = "random: ratio of a Gaussian matrix of that shape"
UNTRAINED = "untrained weights: these are ranks of random matrices, not a measure of redundancy"
MOST_SAID, MOST_NOTES = 12, 4


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
    parts = (
        warning(warnings(result)),
        rank_table(result),
        heads_table(result) if result.attention else None,
        Rows(stem, result.to_rows()),
        rank_plot(result, stem),
        *further,
    )
    return Page(f"Ranks of {result.model}", (Section("", tuple(p for p in parts if p is not None)),), stem, result)


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


def warnings(result: RankResult) -> list[str]:
    """Warnings above the table."""
    return [UNTRAINED] if result.definition.weights == "random" else []


def rank_table(result: RankResult) -> Table:
    """Stages in ascending rank."""
    notes = (*_definition(result), *_mark_notes(result), *_row_notes(result), *_order_notes(result))
    table = Table(
        f"{result.model}: where the rank is low, the stage is redundant",
        COLUMNS,
        tuple(map(_row, result.stages)),
        frozenset({"layer", " "}),
        tuple(note for note in notes if note),
        NARROW,
    )
    return table if result.definition.of == "weights" else table.without("random")


def _marks(row: StageRank) -> str:
    return ("=" if row.tie else "") + ("~" if row.threshold_tie else "") + ("!" if row.spike else "")


def _row(row: StageRank) -> tuple[str, ...]:
    shape = f"{row.shape[0]} x {row.shape[1]}"
    if row.rank is None or row.ratio is None:
        return (str(row.stage), row.layer, shape, "n/a", "", row.note.partition(":")[0], "", "", "", "", "")
    separable = (row.separability_1, row.separability_2)
    return (
        str(row.stage) + _marks(row),
        row.layer.removesuffix(".conv"),
        shape,
        f"{row.rank}/{row.c_out}",
        f"{row.ratio:.2f}",
        bar(row.ratio),
        "-" if row.null_ratio is None else f"{row.null_ratio:.2f}",
        f"{row.effective_rank or 0:.0f}",
        f"{row.stable_rank or 0:.1f}",
        "-" if row.top_gap is None else f"{row.top_gap:.2f}",
        " ".join(f"{share:.2f}" for share in separable if share is not None) or "-",
    )


def _definition(result: RankResult) -> list[str]:
    d = result.definition
    if d.of == "weights":
        of = "weights, BN folded" if d.fold_bn else "weights, raw"
        null = f"{RANDOM}; compare ratios of different shapes only relative to it"
    else:
        centred = "mean subtracted" if d.centred else "mean not subtracted"
        of, null = f"outputs of the convolution, {centred}, {d.of}", ""
    shapes = {row.stage for row in result.stages if row.separability_1 is not None}
    separable = (
        "separable: share of the energy of convs larger than 1x1 that one and two depthwise-separable terms keep"
    )
    notes = [
        result.source,
        f"rank: {read_threshold(d.threshold).words}; {of}; {WHERE[d.at]}",
        null,
        separable if shapes else "",
    ]
    return [*notes, *result.notes]


def _mark_notes(result: RankResult) -> list[str]:
    shown = "".join(map(_marks, result.stages))
    spiked = [f"stage {r.stage} {r.rank_without_top}/{r.c_out}" for r in result.stages if r.spike]
    without = ", ".join(spiked[:MOST_SAID]) + (", ..." if len(spiked) > MOST_SAID else "")
    return [f"{mark} {words.format(without)}" for mark, words in MARKS.items() if mark in shown]


def _row_notes(result: RankResult) -> list[str]:
    """Each distinct note once, with its stages."""
    of: dict[str, list[str]] = {}
    for row in sorted(result.stages, key=lambda row: row.stage):
        if row.note:
            of.setdefault(row.note, []).append(str(row.stage))
    told = [
        f"{'stage' if len(stages) == 1 else 'stages'} {_shortened(stages, ', ')}: {note}" for note, stages in of.items()
    ]
    return told[:MOST_NOTES] + ([f"and {len(told) - MOST_NOTES} more such notes"] if len(told) > MOST_NOTES else [])


def _order_notes(result: RankResult) -> list[str]:
    if not result.order:
        return ["no stage can be ranked"]
    notes = [f"order to try: {_order(result)}"]
    taus = _taus(result)
    if taus:
        notes.append(f"Kendall tau of the order: {'; '.join(taus)}")
    if result.unsettled:
        groups = [_shortened(list(map(str, group)), " ") for group in result.unsettled]
        every = len(result.unsettled[0]) == len(result.order)
        notes.append("order depends on the definition: " + ("all stages" if every else _shortened(groups, " | ")))
    return notes


def _order(result: RankResult) -> str:
    """8, 4, 7, 1 = 3, 2."""
    follows = {stage: group[n - 1] for group in result.ties for n, stage in enumerate(group) if n}
    text = "".join(
        ("" if not n else " = " if stage in follows else ", ") + str(stage) for n, stage in enumerate(result.order)
    )
    return text + (" (equal ratios)" if follows else "")


def _taus(result: RankResult) -> list[str]:
    """One entry for all thresholds together, and one for each other definition or model."""
    told: list[str] = []
    levels = [v for v in result.stability if v.name.startswith("threshold ")]
    known = [v.tau for v in levels if v.tau is not None]
    if known:
        names = [float(v.name.split()[1]) for v in levels]
        told.append(f"{min(known):.2f} to {max(known):.2f} over thresholds {min(names):g}-{max(names):g}")
    others = [v for v in result.stability if v not in levels and v.tau is not None]
    return [*told, *(f"{v.tau:.2f} {v.name}" for v in others[:MOST_SAID])]


def _shortened(words: Sequence[str], between: str) -> str:
    return between.join(words[:MOST_SAID]) + (f"{between}..." if len(words) > MOST_SAID else "")


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
    return Table("rank / output channels, by stage", ("stage", *names), rows, notes=tuple(notes))


def heads_table(result: RankResult) -> Table:
    """Attention layers: entropy and similarity of their heads, and the most similar pair."""
    layers: dict[str, list[HeadUse]] = {}
    for use in result.attention:
        layers.setdefault(use.layer, []).append(use)
    notes = (
        "entropy: entropy of a head's attention weights / that of uniform attention; 1 is uniform",
        "alike: 1 - Jensen-Shannon divergence / ln 2 of two heads: mean over all pairs; most alike: the closest pair",
    )
    columns = ("layer", "heads", "positions", "entropy", "alike", "most alike")
    rows = tuple(_layer(name, uses) for name, uses in layers.items())
    return Table(f"{result.model}: attention heads, {result.definition.of}", columns, rows, frozenset({"layer"}), notes)


def _layer(name: str, uses: Sequence[HeadUse]) -> tuple[str, ...]:
    ratios = [use.entropy_ratio for use in uses]
    alike = [use.similarity for use in uses if use.similarity is not None]
    nearest = max(uses, key=lambda use: use.nearest_similarity or 0.0)
    return (
        name.rpartition(".")[0] or name,
        str(len(uses)),
        str(uses[0].positions),
        f"{min(ratios):.2f}-{max(ratios):.2f}",
        f"{sum(alike) / len(alike):.2f}" if alike else "-",
        f"{nearest.head}, {nearest.nearest}: {nearest.nearest_similarity:.2f}" if nearest.nearest else "-",
    )
