"""What `effscope rank --out` leaves in its folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from effscope.errors import unknown
from effscope.files import write_text
from effscope.reporting.rank_plots import plot_compared, plot_rank, plot_spectra
from effscope.reporting.rank_tables import compared_table, heads_table, rank_table
from effscope.reporting.render import to_csv, to_markdown
from effscope.results import RankResult

PICTURES = ("png", "svg", "pdf")


def picture_formats(text: str) -> tuple[str, ...]:
    """Picture formats from a text with commas. Raises EffscopeError for one that is not known."""
    formats = tuple(part.strip().lower() for part in text.split(",") if part.strip())
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
    for stem, result in zip(_stems(results), results, strict=True):
        result.save(folder / f"{stem}.json")
        write_text(folder / f"{stem}.csv", to_csv([asdict(row) for row in result.stages]))
        parts = [rank_table(result), *([heads_table(result)] if result.attention else [])]
        write_text(folder / f"{stem}.md", "\n".join(map(to_markdown, parts)))
        files |= {f"{stem}.{ext}": str(folder / f"{stem}.{ext}") for ext in ("json", "csv", "md")}
        if result.order:
            files |= {f"{stem}.{ext}": str(plot_rank(result, folder / f"{stem}.{ext}")) for ext in formats}
    tables = {"spectra": _spectra(results), "orders": _orders(results), "heads": _heads(results)}
    for name, rows in tables.items():
        if rows:
            write_text(folder / f"{name}.csv", to_csv(rows))
            files[f"{name}.csv"] = str(folder / f"{name}.csv")
    if tables["spectra"]:
        files |= {f"spectra.{ext}": str(plot_spectra(results, folder / f"spectra.{ext}")) for ext in formats}
    if len(results) > 1:
        write_text(folder / "compared.md", to_markdown(compared_table(results)))
        files["compared.md"] = str(folder / "compared.md")
        files |= {f"compared.{ext}": str(plot_compared(results, folder / f"compared.{ext}")) for ext in formats}
    return files


def _stems(results: Sequence[RankResult]) -> list[str]:
    """File names of models, each its own."""
    if len(results) == 1:
        return ["rank"]
    found: list[str] = []
    for result in results:
        stem = "rank-" + re.sub(r"[^\w.-]+", "-", result.model).strip("-.")
        found.append(f"{stem}-{len(found) + 1}" if stem in found else stem)
    return found


def _spectra(results: Sequence[RankResult]) -> list[dict[str, Any]]:
    """One row per singular value."""
    return [
        {"model": result.model, "stage": s.stage, "layer": s.layer, "number": n, "value": v, "of_largest": v / top}
        for result in results
        for s in result.spectra
        for top in [s.values[0] if s.values and s.values[0] > 0 else 1.0]
        for n, v in enumerate(s.values, 1)
    ]  # fmt: skip


def _orders(results: Sequence[RankResult]) -> list[dict[str, Any]]:
    return [
        {
            "model": result.model,
            **asdict(variant),
            "ties": " | ".join(" ".join(map(str, group)) for group in variant.ties),
        }
        for result in results
        for variant in result.stability
    ]


def _heads(results: Sequence[RankResult]) -> list[dict[str, Any]]:
    return [{"model": result.model, **asdict(use)} for result in results for use in result.attention]
