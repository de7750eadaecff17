"""Two detectors on the same images: the verdict, then AP of every run."""

from __future__ import annotations

from effscope.errors import counted
from effscope.reporting.page import Page, Section, Table, Text, points
from effscope.results import CompareResult


def pages(result: CompareResult) -> tuple[Page, ...]:
    """One page."""
    roles = {"result": "compare.json", "summary": "compare.md"}
    title = f"{result.b} against {result.a}"
    section = Section("", (Text(verdict(result)), compare_table(result)))
    return (Page(title, (section,), "compare", result, roles=roles),)


def verdict(result: CompareResult) -> tuple[str, ...]:
    """The verdict, and what its interval holds."""
    images = f"{100 * result.image_sd:.2f} from the choice of {counted(result.images, 'image')}"
    if result.run_sd is None:
        noise = (
            f"standard error of the difference: {images}; one run a side, so the noise of training is not in the "
            "interval: another seed may differ by more"
        )
    else:
        noise = f"standard deviation of one run: {100 * result.run_sd:.2f} points; of the difference: {images}"
    return f"B {result.verdict}: {result.note}", noise


def compare_table(result: CompareResult) -> Table:
    """AP of each side and of its runs."""
    rows: list[tuple[str, ...]] = []
    for side, name, ap in (("A", result.a, result.ap_a), ("B", result.b, result.ap_b)):
        runs = [run for run in result.runs if run.side == side]
        rows.append((side, name, points(ap)))
        if len(runs) > 1:
            rows += [("", run.model, points(run.ap)) for run in runs]
    notes = (
        f"AP50-95 x 100 on {counted(result.images, 'image')}{result.at_size}; the interval is a 95 % interval",
        *result.notes,
    )
    return Table(f"AP{result.at_size}", ("side", "model", "AP"), tuple(rows), frozenset({"side", "model"}), notes)
