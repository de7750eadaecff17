"""What a run leaves in its folder: results, tables, pictures, weights. Every file is whole or not there."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from effscope.files import write_bytes, write_text
from effscope.reporting.cost_tables import COST_VIEWS, cost_table
from effscope.reporting.plots import plot_history
from effscope.reporting.render import to_csv, to_markdown
from effscope.reporting.tables import Table, eval_table
from effscope.results import (
    TRAIN_RESULT,
    CostResult,
    EvalResult,
    Result,
    TensorsResult,
    TrainResult,
)

if TYPE_CHECKING:
    from effscope.data.sample import DataSet
    from effscope.detect.predict import Detections

N_PICTURES = 8


def write_cost(folder: Path, result: CostResult | TensorsResult) -> dict[str, str]:
    """cost.json, csv and Markdown by layer, stage, primitive and form; of tensors by layer alone."""
    result.save(folder / "cost.json")
    for by, field in COST_VIEWS.items() if isinstance(result, CostResult) else [("layer", result.TABLE)]:
        write_text(folder / f"cost_by_{by}.csv", to_csv([asdict(row) for row in getattr(result, field)]))
        write_text(folder / f"cost_by_{by}.md", to_markdown(cost_table(result, by)))
    return {"cost": str(folder / "cost.json")}


def write_table(folder: Path, name: str, result: Result, table: Table) -> dict[str, str]:
    """NAME.json, NAME.csv of the result's main table, NAME.md."""
    result.save(folder / f"{name}.json")
    write_text(folder / f"{name}.csv", to_csv(result.to_rows()))
    write_text(folder / f"{name}.md", to_markdown(table))
    return {ext: str(folder / f"{name}.{ext}") for ext in ("json", "csv", "md")}


def write_eval(
    folder: Path,
    result: EvalResult,
    dataset: DataSet,
    found: Sequence[Detections],
    per_image: Sequence[float | None],
    classes: Sequence[str],
) -> None:
    """eval.json, eval.md, images.csv (AP of every picture), detections.json (COCO result rows with file names) and
    pictures of the first detections."""
    from effscope.data.read import read_image  # noqa: PLC0415
    from effscope.detect.draw import draw  # noqa: PLC0415

    result.save(folder / "eval.json")
    write_text(folder / "eval.md", to_markdown(eval_table(result)))
    rows = [
        {"image": sample.name, "class": classes[label], "score": score, "xyxy": box}
        for sample, d in zip(dataset.samples, found, strict=True)
        for box, score, label in zip(d.boxes.round(2).tolist(), d.scores.round(5).tolist(), d.labels, strict=True)
    ]  # fmt: skip
    images = [
        {"image": sample.name, "boxes": len(sample.boxes), "detections": len(d.scores), "ap": ap}
        for sample, d, ap in zip(dataset.samples, found, per_image, strict=True)
    ]
    write_text(folder / "images.csv", to_csv(images))
    write_text(folder / "detections.json", json.dumps(rows) + "\n")
    for n in range(min(N_PICTURES, len(found))):
        sample = dataset.samples[n]
        picture = io.BytesIO()
        draw(read_image(sample), found[n], classes, truth=sample).save(picture, "PNG")
        write_bytes(folder / f"picture_{n:02d}.png", picture.getvalue())


def write_train(folder: Path, result: TrainResult) -> TrainResult:
    """train.json, train.md, history.csv, a plot of losses and AP, and transfer.csv where weights were given.

    Returns:
        the result with these in `files`.
    """
    write_text(folder / "history.csv", to_csv(list(result.history)))
    plot_history(result.history, folder / "history.png")
    if result.transfer_layers:
        write_text(folder / "transfer.csv", to_csv([asdict(row) for row in result.transfer_layers]))
        result = replace(result, files=result.files | {"transfer": str(folder / "transfer.csv")})
    names = {"history": "history.csv", "plot": "history.png", "summary": "train.md", "result": TRAIN_RESULT}
    result = replace(result, files=result.files | {key: str(folder / name) for key, name in names.items()})
    write_text(folder / "train.md", to_markdown(eval_table(result)))
    result.save(folder / TRAIN_RESULT)
    return result
