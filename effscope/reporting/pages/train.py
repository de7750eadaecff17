"""A training: the final AP, its curves, and what came from the starting weights."""

from __future__ import annotations

from effscope.errors import counted
from effscope.reporting.page import Page, Rows, Section, Table, warning
from effscope.reporting.pages.eval import eval_table
from effscope.reporting.plots.train import history_plot
from effscope.results import TRAIN_RESULT, TrainResult, plain

ROLES = {"history": "history.csv", "plot": "history.png", "summary": "train.md", "result": TRAIN_RESULT}


def pages(result: TrainResult) -> tuple[Page, ...]:
    """One page."""
    parts = (
        warning(result.notes),
        train_table(result),
        history_plot(result),
        Rows("history", [plain(row) for row in result.history]),
        Rows("transfer", [plain(row) for row in result.transfer_layers]),
    )
    roles = ROLES | ({"transfer": "transfer.csv"} if result.transfer_layers else {})
    sections = (Section("", tuple(part for part in parts if part is not None)),)
    return (Page(f"Training of {result.model}", sections, "train", result, TRAIN_RESULT, roles),)


def train_table(result: TrainResult) -> Table:
    """AP over all classes and per class, with time and memory."""
    speed = (
        f"{counted(result.epochs, 'epoch')} in {result.seconds:.0f} s, {result.images_per_s:.1f} images/s, "
        f"peak memory {result.peak_memory_mb:,.0f} MB"
    )
    return eval_table(result, speed, *([result.transfer] if result.transfer else []))
