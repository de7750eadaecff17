"""What `effscope rank --out` leaves in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from effscope.errors import unknown
from effscope.files import write_text
from effscope.ranking.stability import labels
from effscope.reporting.rank_plots import plot_compared, plot_rank, plot_spectra
from effscope.reporting.rank_tables import compared_table, heads_table, rank_table
from effscope.reporting.render import to_csv, to_markdown
from effscope.results import RankResult

PICTURES = ("png", "svg", "pdf")


def picture_formats(text: str) -> tuple[str, ...]:
    """Picture formats from a text with commas. Raises EffscopeError for one that is not known."""
    formats = tuple(part.strip() for part in text.split(","))
    for name in formats:
        if name not in PICTURES:
            raise unknown("--pictures", name, PICTURES)
    return formats


def write_rank(folder: Path, results: Sequence[RankResult], formats: Sequence[str] = PICTURES[:1]) -> dict[str, str]:
    """For each model rank.json, rank.csv, rank.md and bars; for all ranks by stage, spectra, heads and orders.

    Returns:
        What it is -> file.
    """
    files: dict[str, str] = {}
    names = labels(results)
    for name, result in zip(names, results, strict=True):
        stem = "rank" if len(results) == 1 else f"rank-{name.replace(' ', '-').replace('/', '-')}"
        result.save(folder / f"{stem}.json")
        write_text(folder / f"{stem}.csv", to_csv([asdict(row) for row in result.stages]))
        parts = [rank_table(result), *([heads_table(result)] if result.attention else [])]
        write_text(folder / f"{stem}.md", "\n".join(map(to_markdown, parts)))
        files[stem] = str(folder / f"{stem}.json")
        if result.order:
            files |= {f"{stem}.{ext}": str(plot_rank(result, folder / f"{stem}.{ext}")) for ext in formats}
    tables = {"spectra": _spectra(names, results), "orders": _orders(names, results), "heads": _heads(names, results)}
    for name, rows in tables.items():
        if rows:
            write_text(folder / f"{name}.csv", to_csv(rows))
            files[name] = str(folder / f"{name}.csv")
    if tables["spectra"]:
        files |= {f"spectra.{ext}": str(plot_spectra(results, folder / f"spectra.{ext}")) for ext in formats}
    if len(results) > 1:
        write_text(folder / "compared.md", to_markdown(compared_table(results)))
        files |= {f"compared.{ext}": str(plot_compared(results, folder / f"compared.{ext}")) for ext in formats}
    return files


def _spectra(names: Sequence[str], results: Sequence[RankResult]) -> list[dict[str, Any]]:
    """One row per singular value."""
    return [
        {"model": name, "stage": s.stage, "layer": s.layer, "number": n, "value": value, "of_largest": value / top}
        for name, result in zip(names, results, strict=True)
        for s in result.spectra
        for top in [s.values[0] if s.values and s.values[0] > 0 else 1.0]
        for n, value in enumerate(s.values, 1)
    ]  # fmt: skip


def _orders(names: Sequence[str], results: Sequence[RankResult]) -> list[dict[str, Any]]:
    return [
        {"model": name, **asdict(variant), "ties": " | ".join(" ".join(map(str, group)) for group in variant.ties)}
        for name, result in zip(names, results, strict=True)
        for variant in result.stability
    ]


def _heads(names: Sequence[str], results: Sequence[RankResult]) -> list[dict[str, Any]]:
    return [
        {"model": name, **asdict(use)} for name, result in zip(names, results, strict=True) for use in result.attention
    ]
