"""The commands that people most likely want next, with their own file names in them: one function per command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from effscope.cli.saving import Delivery

if TYPE_CHECKING:
    from effscope.results import EvalResult, ExportResult, RankResult, SearchResult, TrainResult

OWN_DATA = "data.yaml"
"""Stands for the user's data where a command did not name any."""

TARGET = "params=-20%"
"""A target to try where no stage could be replaced."""


def command(*words: object) -> str:
    """A command of effscope as people type it."""
    return "effscope " + shlex.join(map(str, words))


def suggest(commands: Sequence[str], to: Delivery) -> None:
    """Print the commands, unless the output is silent or JSON."""
    if to.silent:
        return
    from effscope.reporting.render.terminal import say  # noqa: PLC0415

    for n, one in enumerate(commands):
        say(f"{'next: ' if not n else '      '}{one}")


def after_rank(model: str, result: RankResult) -> list[str]:
    """Train what has no weights; search what has ranks."""
    if result.definition.weights == "random":
        return [command("train", model, "--data", OWN_DATA)]
    return [command("search", model, "--data", OWN_DATA)] if result.order else []


def after_cost(model: str, by: str) -> list[str]:
    """By stage, then the clock."""
    return [command("latency", model) if by == "stage" else command("cost", model, "--by", "stage")]


def after_latency(model: str) -> list[str]:
    """Which stage takes the predicted time."""
    return [command("cost", model, "--by", "stage", "--device", "here")]


def after_train(result: TrainResult, data: str) -> list[str]:
    """What it finds wrong, and what can be taken out."""
    from effscope.config import SearchConfig  # noqa: PLC0415 - a count needs none

    folder = Path(result.files["result"]).parent
    checked = command("eval", folder, "--data", data, "--errors")
    return [checked, command("search", folder, "--data", data)] if result.ap >= SearchConfig.learned_ap else [checked]


def after_eval(model: str, data: str, result: EvalResult) -> list[str]:
    """The errors by kind, then the search."""
    if not result.errors:
        return [command("eval", model, "--data", data, "--errors", "--out", "eval")]
    return [] if Path(model).suffix == ".onnx" else [command("search", model, "--data", data)]


def after_search(result: SearchResult, base: str, data: str) -> list[str]:
    """Take the chosen model home; without one, ask for less or for another thing."""
    if not result.base_runs:
        return [command("search", base, "--data", data, "--target", TARGET)]
    if not result.accepted:
        return [command("search", base, "--data", data, *_milder(result))]
    folder = Path(result.files["result"]).parent
    return [
        command("export", folder, "--to", "pt,onnx", "--out", folder / "export"),
        command("eval", folder, "--data", data, "--errors"),
    ]


def _milder(result: SearchResult) -> tuple[str, str]:
    """A search that asks for less: with a target another margin, without one a target."""
    return ("--margin", f"{2 * result.margin:g}") if result.target else ("--target", TARGET)


def after_export(result: ExportResult) -> list[str]:
    """Go on in Ultralytics, and check the graph on data."""
    found = []
    if "pt" in result.files:
        found.append(f"yolo detect train model={shlex.quote(result.files['pt'])} data={OWN_DATA} imgsz={result.imgsz}")
    found += [
        command("eval", result.files[kind], "--data", OWN_DATA) for kind in ("onnx", "int8") if kind in result.files
    ]
    return found
