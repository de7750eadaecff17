"""How a swapped part should get its weights: AP at once and after the same short training, start by start.

`python experiments/inheritance/run.py measure DATA [NAME...]` adds what is missing to
reports/inheritance/measured.jsonl; it can be stopped at any time.
`python experiments/inheritance/run.py page` prints the page from what is there. DATA holds bccd, deeppcb, coco_cc and
weights/yolov8n_coco.pt. Parts: light class head, CIB at stage 8 and at stage 4, SCDown at its three layers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import nn

from effscope.api import train as train_run
from effscope.config import DistilConfig, EvalConfig, TrainConfig, search_config
from effscope.detect.bank import limited_bank
from effscope.detect.evaluate import evaluate
from effscope.layouts.expand import expand, stages
from effscope.layouts.moves import MOVES, move
from effscope.nn.build import Network, build, raw
from effscope.nn.fuse import deploy
from effscope.nn.inherit import inherit
from effscope.recipes import read_recipe
from effscope.results import version
from effscope.searching.context import Context
from effscope.searching.fitting import mirrored
from effscope.spec.layout import Layout
from effscope.training.norms import recalibrate_on
from effscope.training.train import train
from effscope.transplant.distil import class_divergence, distil, normalised_error
from effscope.transplant.forms import start
from effscope.transplant.passes import Pair
from effscope.transplant.record import Pairs, record
from effscope.transplant.separable import Separable, allot, terms
from effscope.transplant.sums import Moments

WORK = Path("runs/inheritance")
MEASURED = Path("reports/inheritance/measured.jsonl")
SEEDS, IMAGES, SHORT, BATCH = (0, 1, 2), 64, 320, 16
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Data:
    """A data set: image side, training images, and epochs of the base (0: the given weights know its classes)."""

    imgsz: int
    limit: int | None
    epochs: int


DATA = {"bccd": Data(256, None, 25), "coco_cc": Data(416, None, 0), "deeppcb": Data(256, 300, 25)}
PARTS = {"light head": ("light-head", "Detect"), "CIB 8": ("cib", 8), "CIB 4": ("cib", 4), "SCDown": ("scdown", "Conv")}


@cache
def context_of(name: str, root: Path) -> Context:
    """The data and a model that knows its classes, with YOLOv8's own head."""
    data, weights = DATA[name], root / "weights" / "yolov8n_coco.pt"
    source = str(root / name / "data.yaml")
    if data.epochs:
        folder = WORK / f"base-{name}"
        train_run(
            "yolov8n", weights=str(weights), data=source, imgsz=data.imgsz, epochs=data.epochs, batch=BATCH,
            limit_train=data.limit, eval_every=0, out=folder, seed=0,
        )  # fmt: skip
        weights = folder
    settings = {"base": str(weights), "data": source, "imgsz": data.imgsz, "limit_train": data.limit, "head": "keep"}
    return Context(search_config(settings), torch.get_num_threads(), "cpu")


def changed(layout: Layout, part: str) -> tuple[Layout, list[int]]:
    """The layout with a part changed, and the positions of the changed layers."""
    name, where = PARTS[part]
    if isinstance(where, int):
        found = next(stage for stage in stages(layout) if stage.number == where)
        return move(layout, name, [found.id]), [found.index]
    ids = [layer.id for layer in MOVES[name].default(layout)]
    return move(layout, name, ids), [n for n, layer in enumerate(layout.layers) if layer.id in ids]


def pairs_of(base: Network, position: int, context: Context, seed: int) -> Pairs:
    """Inputs and outputs of a layer of the base, for images that the seed shifts."""
    bank = context.banks.train
    few = limited_bank(bank, min(IMAGES * (seed + 1), len(bank.images)))
    return record(raw(base), position, mirrored(few, CPU), 1 << 29)


@contextmanager
def plain_decomposition() -> Iterator[None]:
    """Kernels by a singular value decomposition of the weights alone; images give only means and spreads."""

    def separate(kernel: torch.Tensor, moments: Moments, slots: int, masks: torch.Tensor) -> Separable:
        white = torch.eye(kernel.shape[2], dtype=torch.float64).expand(kernel.shape[1], -1, -1)
        pointwise, depthwise, strength = terms(kernel.double(), white)
        channels, ranks = (torch.tensor(values) for values in zip(*allot(strength, slots), strict=True))
        return Separable(pointwise[channels, ranks].T, depthwise[channels, ranks], channels)

    from effscope.transplant import fits  # noqa: PLC0415

    kept, solve = fits.separate, Moments.solve
    fits.separate, Moments.solve = separate, lambda self, prior, damping: self.fit(prior)  # type: ignore[assignment]
    try:
        yield
    finally:
        fits.separate, Moments.solve = kept, solve  # type: ignore[method-assign]


def fill(
    network: Network, base: Network, layouts: tuple[Layout, Layout], position: int, pairs: Pairs, how: str, seed: int
) -> None:
    """Give one layer its weights in one of the ways of `STARTS`."""
    key, student, teacher = str(position), raw(network), raw(base)
    if how in ("random", "names"):
        return
    inputs = [pairs.some(slice(n, n + BATCH)).inputs for n in range(0, len(pairs), BATCH)]
    pair = Pair(teacher.model[key], student.model[key], [(given, given) for given in inputs])
    blocks = layouts[0].layers[position].block, layouts[1].layers[position].block
    if how == "svd":
        with plain_decomposition():
            start(pair, *blocks)
        return
    start(pair, *blocks)
    if how in ("block-wise", "whole"):
        head = blocks[1] == "Detect"
        names = [name for name, _ in student.model[key].named_parameters() if not head or ".cv3." in f".{name}"]
        loss = class_divergence(64) if head else normalised_error
        distil(student.model[key], pairs, names, DistilConfig(images=IMAGES), seed, loss=loss)


def batch_statistics(network: Network, context: Context) -> None:
    """Replace the statistics of all norms by the mean of batches, without making up for it."""
    student = raw(network)
    norms = [module for module in student.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    student.train()
    with torch.no_grad():
        for images in mirrored(limited_bank(context.banks.train, IMAGES), CPU):
            student(images)
    student.eval()
    for norm in norms:
        norm.momentum = 0.03


def started(context: Context, part: str, how: str, seed: int) -> Network:
    """The model with a changed part, before any label."""
    layout, positions = changed(context.layout, part)
    base, network = context.given.network(), build(expand(layout), seed)
    state = dict(base.state_dict())
    if how == "random":
        prefixes = tuple(f"model.{n}." + ("cv3." if part == "light head" else "") for n in positions)
        state = {key: value for key, value in state.items() if not key.startswith(prefixes)}
    inherit(network, layout, context.layout, state)
    for position in positions:
        pairs = pairs_of(base, position, context, seed)
        fill(network, base, (context.layout, layout), position, pairs, how, seed)
    if how == "statistics":
        batch_statistics(network, context)
    return network


STARTS: dict[str, str] = {
    "random": "random", "names": "name and shape", "svd": "SVD of the weights", "responses": "responses",
    "statistics": "responses, then statistics of batches in all norms",
    "block-wise": "responses, block-wise distillation",
    "whole": "the same, and the base teaches the short training",
}  # fmt: skip


def ap_of(network: Network, context: Context) -> float:
    config = EvalConfig(imgsz=context.config.imgsz, batch=BATCH, device="cpu")
    return evaluate(deploy(network), context.banks.val, config).ap


def short(network: Network, context: Context, how: str, seed: int) -> Network:
    """The same number of training images for every start and data set, at a rate at which a new part can learn."""
    recalibrate_on(network, context.banks.train, CPU)
    few = limited_bank(context.banks.train, SHORT)
    epochs = max(round(SHORT / len(few.images)), 1)
    recipe = read_recipe(
        "gentle,lr=0.0001,norms=batch,warmup_epochs=0.5,close_mosaic_epochs=0,distil_gain="
        + ("1" if how == "whole" else "0")
    )
    config = TrainConfig(imgsz=context.config.imgsz, epochs=epochs, batch=BATCH, seed=seed, device="cpu", recipe=recipe)
    network.load_state_dict(train(network, few, config, teacher=context.given.network()).state)
    return network


def measure(root: Path, names: list[str]) -> None:
    """Measure every missing (seed, data, part, start) of some data sets, and append it to a file."""
    MEASURED.parent.mkdir(parents=True, exist_ok=True)
    file = MEASURED
    done = {tuple(row[name] for name in ("seed", "data", "part", "start")) for row in rows(file)}
    for seed in SEEDS:
        for data in names or DATA:
            for part in ("none", *PARTS):
                for how in STARTS if part != "none" else ("names",):
                    if (seed, data, part, how) in done:
                        continue
                    context = context_of(data, root)
                    network = context.given.network() if part == "none" else started(context, part, how, seed)
                    at_once = ap_of(network, context)
                    after = ap_of(short(network, context, how, seed), context)
                    row = {"seed": seed, "data": data, "part": part, "start": how, "at_once": at_once, "after": after}
                    with file.open("a") as out:
                        out.write(json.dumps(row) + "\n")
                    print(row, flush=True)


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def page() -> str:
    """AP of each start / AP of the base, at once and after the short training: mean and deviation over seeds."""
    found = rows(MEASURED)
    lines = [
        "# How a swapped part should start",
        "",
        INTRODUCTION.format(torch=torch.__version__, effscope=version("effscope"), n=SHORT),
        "",
    ]
    for data in DATA:
        own = [row for row in found if row["data"] == data]
        given = [row for row in own if row["part"] == "none"]
        if not given:
            continue
        base = mean(row["at_once"] for row in given)
        lines += [
            f"## {data}: your model {100 * base:.1f} AP as given, {_ap(given, 'after')} after the short training",
            "",
        ]
        lines += ["| start | " + " | ".join(PARTS) + " |", "|---|" + "---|" * len(PARTS)]
        for how, words in STARTS.items():
            cells = [_cell([r for r in own if r["part"] == part and r["start"] == how], base) for part in PARTS]
            lines.append(f"| {words} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _ap(found: list[dict[str, Any]], name: str) -> str:
    values = [100 * row[name] for row in found]
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def _cell(found: list[dict[str, Any]], base: float) -> str:
    if not found:
        return ""
    share = 100 * mean(row["at_once"] for row in found) / base
    return f"{_ap(found, 'at_once')} ({share:.0f} %) → {_ap(found, 'after')}"


INTRODUCTION = """AP50-95 x 100 at once → after the same short training ({n} images; AdamW 1e-4, norms of the batch),
mean ± deviation over the seeds; in brackets the share of your model's AP at once. Made by
`experiments/inheritance/run.py`, effscope {effscope}, torch {torch}."""


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["measure", data, *names] if Path(data).is_dir():
            measure(Path(data), names)
        case ["page"]:
            print(page())
        case _:
            sys.exit("usage: python experiments/inheritance/run.py measure DATA [NAME...], or page; DATA is a folder")
