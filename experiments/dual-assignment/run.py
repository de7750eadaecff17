"""Compare one-to-many, one-to-one and dual heads on real images, and exponents of the one-to-one head's matching.

`python experiments/dual-assignment/run.py train DATA` trains yolov8n from scratch, once for each setting and seed, and
keeps finished runs in runs/dual-assignment. Two such processes share the work.
`python experiments/dual-assignment/run.py page DATA` measures latency and prints the page; `make bench-dual` does both.
"""

from __future__ import annotations

import fcntl
import json
import math
import platform
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from effscope.api import latency
from effscope.checkpoint.write import write_safetensors
from effscope.config import EvalConfig, TrainConfig
from effscope.data.classes import relabelled
from effscope.data.load import load
from effscope.detect.bank import Banks, load_bank
from effscope.detect.evaluate import evaluate
from effscope.errors import EffscopeError
from effscope.files import write_text
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.models.file_metadata import metadata
from effscope.nn.build import build
from effscope.nn.fuse import deploy
from effscope.recipes import Recipe
from effscope.results import version
from effscope.spec.layout import Layout
from effscope.training.train import train

IMGSZ, EPOCHS, BATCH, SEEDS = 192, 30, 16, (0, 1, 2)
WORK = Path("runs/dual-assignment")


@dataclass(frozen=True)
class Setting:
    """A row: the head's pairing, the one-to-one exponents, and the paper's AP (points, COCO, YOLOv8-S)."""

    name: str
    pairing: str
    paper_ap: float
    alpha: float = 0.5
    beta: float = 6.0

    def recipe(self) -> Recipe:
        """The standard recipe with this matching."""
        return Recipe(o2o_alpha=self.alpha, o2o_beta=self.beta)


HEADS = (
    Setting("o2m", "o2m", 44.9),
    Setting("o2o", "o2o", 43.4),
    Setting("o2m+o2o", "dual", 44.3),
)
MATCHINGS = tuple(
    Setting(f"alpha={alpha:g} beta={beta:g}", "dual", paper, alpha, beta)
    for alpha, beta, paper in (
        (0.5, 2, 42.7), (0.5, 4, 44.2), (0.5, 6, 44.3), (0.5, 8, 44.0),
        (0.25, 3, 44.3), (0.25, 6, 43.5), (1, 6, 43.9), (1, 12, 44.3),
    )
)  # fmt: skip
"""The one-to-many exponents stay .5 and 6: rows with beta = 12 alpha are consistent."""
DEFAULT = 2
"""Position of .5, 6 in the table."""


def key(setting: Setting, seed: int) -> str:
    """Name of a run; equal settings are trained once."""
    matching = "" if setting.pairing == "o2m" else f"-a{setting.alpha:g}-b{setting.beta:g}"
    return f"{setting.pairing}{matching}-seed{seed}"


def headed(pairing: str, nc: int) -> Layout:
    """yolov8n for `nc` classes with a head of that pairing."""
    plain = layout("yolov8n", nc)
    *body, head = plain.layers
    return replace(plain, layers=(*body, replace(head, args=("nc", "standard", pairing))))


def run_all(data: str) -> None:
    """Train every run that is not finished and that no other process is training."""
    WORK.mkdir(parents=True, exist_ok=True)
    train_set, val_set = load(data, "train"), load(data, "val")
    val_bank = load_bank(relabelled(val_set, train_set.classes), IMGSZ)
    bank = load_bank(train_set, IMGSZ)
    for seed in SEEDS:
        for setting in (*HEADS, *MATCHINGS):
            name = key(setting, seed)
            with (WORK / f"{name}.lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the end of the process releases it
                except BlockingIOError:
                    continue
                if not (WORK / f"{name}.json").exists():
                    run_one(setting, seed, Banks(bank, val_bank), data)


def run_one(setting: Setting, seed: int, banks: Banks, data: str) -> None:
    """Train one setting with one seed, or resume a run that was killed."""
    name, classes = key(setting, seed), banks.train.dataset.classes
    shape = headed(setting.pairing, len(classes))
    config = TrainConfig(data, IMGSZ, EPOCHS, BATCH, seed, "cpu", recipe=setting.recipe())
    network = build(expand(shape), seed)
    done = train(network, banks.train, config, val_set=banks.val, state_file=WORK / f"{name}.state")
    network.load_state_dict(done.state)
    found = done.evaluation or evaluate(deploy(network), banks.val, EvalConfig(imgsz=IMGSZ, device="cpu"))
    write_safetensors(WORK / f"{name}.safetensors", done.state, metadata(shape, classes, IMGSZ))
    row = {"ap": found.ap, "ap50": found.ap50, "history": done.history, "threads": torch.get_num_threads()}
    write_text(WORK / f"{name}.json", json.dumps(row))
    (WORK / f"{name}.state").unlink(missing_ok=True)
    print(f"{name}: AP {100 * found.ap:.1f}, {done.seconds:.0f} s", flush=True)


def runs(setting: Setting) -> list[dict[str, Any]]:
    """Results of a setting, one per seed."""
    return [json.loads((WORK / f"{key(setting, seed)}.json").read_text()) for seed in SEEDS]


def spread(values: list[float]) -> str:
    """Mean and standard deviation, in points, and every value."""
    each = ", ".join(f"{100 * value:.1f}" for value in values)
    return f"{100 * statistics.mean(values):.1f} +- {100 * statistics.stdev(values):.1f} | {each}"


def against(setting: Setting, other: Setting) -> str:
    """Difference of AP in points to another setting, seed by seed: mean +- standard error."""
    pairs = zip(runs(setting), runs(other), strict=True)
    apart = [100 * (mine["ap"] - theirs["ap"]) for mine, theirs in pairs]
    error = statistics.stdev(apart) / math.sqrt(len(apart))
    return f"{statistics.mean(apart):+.1f} +- {error:.1f}" if setting is not other else ""


def latencies() -> dict[str, tuple[float, float]]:
    """Name of a head -> median ms of one image on one thread: the network, and the network with post-processing."""
    weights = {setting.name: str(WORK / f"{key(setting, 0)}.safetensors") for setting in HEADS}
    timed = latency(list(weights.values()), imgsz=IMGSZ, threads=1)
    found = {}
    for name, file in weights.items():
        rows = [row for row in timed.rows if row.model == Path(file).stem]
        network = next(row.median_ms for row in rows if row.kind == "whole")
        _, total, *_ = (row.median_ms for row in rows if row.kind == "total")  # second: the head's own post-processing
        found[name] = (network, total)
    return found


def heads_table() -> str:
    """The paper's table of heads."""
    lines = [
        "| head | AP | each seed | against o2m | AP50 | network ms | with post-processing ms | the paper's AP |",
        "| :-- | --: | :-- | --: | --: | --: | --: | --: |",
    ]
    times = latencies()
    for setting in HEADS:
        found = runs(setting)
        network, total = times[setting.name]
        ap50 = 100 * statistics.mean(run["ap50"] for run in found)
        ap = spread([run["ap"] for run in found])
        apart = against(setting, HEADS[0])
        lines.append(
            f"| {setting.name} | {ap} | {apart} | {ap50:.1f} | {network:.2f} | {total:.2f} | {setting.paper_ap} |"
        )
    return "\n".join(lines)


def matching_table() -> str:
    """The paper's table of exponents, and how far the two assignments agree in the last epoch."""
    lines = [
        "| one-to-one exponents | AP | each seed | against .5, 6 | gap | in top 1 | in top 5 | in top 10 | "
        "the paper's AP |",
        "| :-- | --: | :-- | --: | --: | --: | --: | --: | --: |",
    ]
    for setting in MATCHINGS:
        found = runs(setting)
        last = [run["history"][-1] for run in found]
        gap, *tops = (statistics.mean(row[name] for row in last) for name in ("gap", "top1", "top5", "top10"))
        shares = " | ".join(f"{100 * share:.0f} %" for share in tops)
        consistent = " (consistent)" if math.isclose(setting.beta, 12 * setting.alpha) else ""
        ap = spread([run["ap"] for run in found])
        apart = against(setting, MATCHINGS[DEFAULT])
        lines.append(f"| {setting.name}{consistent} | {ap} | {apart} | {gap:.2f} | {shares} | {setting.paper_ap} |")
    return "\n".join(lines)


def page(data: str) -> None:
    """Print the page."""
    threads = {run["threads"] for setting in MATCHINGS for run in runs(setting)}
    n_train, n_val = len(load(data, "train").samples), len(load(data, "val").samples)
    print(
        "# One-to-many, one-to-one and dual heads on BCCD\n\n"
        f"`make bench-dual`: yolov8n from scratch, {n_train} training and {n_val} validation images, {IMGSZ} px, "
        f"{EPOCHS} epochs, batch {BATCH}, recipe `standard`, seeds {SEEDS}; AP is mAP50-95 of the averaged weights in "
        "points, +- one standard deviation over the seeds; 'against' is the difference seed by seed, +- its standard "
        "error. One-to-one heads are scored without suppression. Gap and top k are means over the last epoch's "
        "one-to-one points. Latency: one image, float32, one thread, 10 objects, detections from a score of .25 on. "
        "The paper's AP is of YOLOv8-S on "
        "COCO (arXiv 2405.14458).\n\n"
        f"{heads_table()}\n\n{matching_table()}\n\n"
        f"effscope {version('effscope')}, torch {torch.__version__}, python {platform.python_version()}, trained on "
        f"{'/'.join(map(str, sorted(threads)))} thread(s), {platform.machine()}; no GPU was used."
    )


def main() -> None:
    """Run `train` or `page`."""
    jobs = {"train": run_all, "page": page}
    match sys.argv[1:]:
        case [job, data] if job in jobs:
            try:
                jobs[job](data)
            except EffscopeError as error:
                sys.exit(f"error: {error}")
            except FileNotFoundError as error:
                sys.exit(f"error: no {error.filename}: run `train` first")
        case _:
            sys.exit("usage: python experiments/dual-assignment/run.py train|page DATA")


if __name__ == "__main__":
    main()
