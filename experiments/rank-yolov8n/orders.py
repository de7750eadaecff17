"""Kendall's tau between the orders of the reports' definitions: `python experiments/rank-yolov8n/orders.py`."""

from __future__ import annotations

from pathlib import Path

from effscope.ranking.order import Ratios, kendall_tau
from effscope.results import RankResult

REPORTS = Path(__file__).parents[2] / "reports" / "rank-yolov8n"


def orders() -> dict[str, Ratios]:
    """Name -> stage -> what it is ordered by."""
    results = {
        name: RankResult.load(REPORTS / name / "rank.json") for name in ("stage", "block", "outputs", "noise-edge")
    }
    effective = {r.stage: (r.effective_rank or 0) / r.c_out for r in results["stage"].stages}
    separable = {r.stage: -(r.separability_1 or 0) for r in results["stage"].stages}
    found: dict[str, Ratios] = {name: result.ratios() for name, result in results.items()}
    return {**found, "effective rank": effective, "least separable last": separable}


def main() -> None:
    """Print a Markdown table."""
    found = orders()
    print("| tau | " + " | ".join(found) + " |\n| :-- |" + " --: |" * len(found))
    for name, ratios in found.items():
        taus = [kendall_tau(ratios, other) for other in found.values()]
        print(f"| {name} | " + " | ".join("-" if tau is None else f"{tau:.2f}" for tau in taus) + " |")


if __name__ == "__main__":
    main()
