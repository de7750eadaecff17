"""Do FLOPs predict time? `make bench-time` writes reports/flops-vs-time from what this prints. No test is timed.

Measures by turns, on one image, and compares with FLOPs and the roofline of this machine (peak and bandwidth first):

1. layers: forms of a 3x3 convolution (convolutions alone), each without and with squeeze-and-excitation, at the
   channels and map sizes of YOLOv8 n and m at 640 px, stride 1 and 2 (channels doubled);
2. blocks of a stage, as deployed (norms folded, with activations);
3. whole small detectors as deployed, at 320 px.

The last table compares published latencies of a T4 with the roofline of a T4, without a measurement.

    python experiments/flops-vs-time/run.py OUT [--threads 1] [--rounds 30]

prints Markdown and writes measured.csv and flops-vs-time.png to the folder OUT.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from pages import SE, Row, page
from plots import draw
from torch import Tensor, nn

from effscope.costing.layer_cost import graph_of
from effscope.costing.layer_forms import LayerForm, named_layer
from effscope.costing.nodes import node_costs
from effscope.costing.roofline import Device, Predicted, predicted
from effscope.files import csv_text, write_text
from effscope.layouts.blocks.mobile import squeeze_excite
from effscope.models.open import open_model
from effscope.nn.build import build
from effscope.results import version
from effscope.spec.emit import Emitter, Value
from effscope.spec.graph import Graph
from effscope.spec.rewrite import deploy_form
from effscope.timing.clock import Job, Spread, by_turns, call_ms, threads
from effscope.timing.peaks import this_machine

CELLS = [(c * wide, 2560 // (c // 2)) for wide in (1, 2) for c in (32, 64, 128, 256)]
"""Channels and side of the input map: YOLOv8n's and YOLOv8m's widths at 640 px."""

PLAIN = {"standard": "standard", "dw, pw": "depthwise-separable (dw, pw)", "pw, dw": "decoupled (pw, dw)"}
"""Name here -> form of `effscope cost --layer conv3x3`; dw is the depthwise 3x3, pw the 1x1."""

BLOCKS = ("bottleneck", "inverted residual", "cib", "cib, large kernel", "ghost bottleneck", "convnext")
MODELS = (
    "yolov5n", "yolov6n", "yolov8n", "yolov8n-ghost", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n",
    "yolox-nano", "yolov3-tiny", "efficientnet-b0-yolov8",
)  # fmt: skip
MODEL_SIDE = 320
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Item:
    """A graph to measure, in the form in which it runs, on an input (1, c, side, side)."""

    part: str
    cell: str
    name: str
    graph: Graph
    c: int
    side: int


def gated(form: LayerForm) -> LayerForm:
    """The form with squeeze-and-excitation after it, ratio 4."""

    def emit(e: Emitter, x: Value, c_out: int, stride: int) -> Value:
        return squeeze_excite(e.at("se"), form.emit(e, x, c_out, stride))

    return LayerForm(form.name + SE, emit)


def items() -> Iterator[Item]:
    """Layers, blocks, models."""
    known = {form.name: form for form in named_layer("conv3x3").forms}
    forms = [LayerForm(name, known[full].emit) for name, full in PLAIN.items()]
    for stride in (1, 2):
        for c, side in CELLS:
            to = f"{c} to {stride * c}, map {side}" + (f" to {side // 2}" if stride > 1 else "")
            for form in (*forms, *map(gated, forms)):
                yield Item(f"layers, stride {stride}", to, form.name, graph_of(form, c, stride * c, stride), c, side)
    blocks = {form.name: form for form in named_layer("bottleneck").forms}
    for c, side in CELLS:
        for name in BLOCKS:
            graph = deploy_form(graph_of(blocks[name], c, c, 1))[0]
            yield Item("blocks", f"{c}, map {side}", name, graph, c, side)
    for name in MODELS:
        graph = deploy_form(open_model(name).graph)[0]
        yield Item("models", f"{MODEL_SIDE} px", name, graph, 3, MODEL_SIDE)


def timed(network: nn.Module, image: Tensor) -> Job:
    """One pass."""
    return lambda: {"ms": call_ms(lambda: network(image), CPU)}


@torch.inference_mode()
def measured(machine: Device, rounds: int) -> list[Row]:
    """Every item, by turns, with weights of seed 0."""
    found = list(items())
    jobs, totals = {}, []
    for n, item in enumerate(found):
        shape = (1, item.c, item.side, item.side)
        image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        jobs[f"{n}"] = timed(build(item.graph).eval(), image)
        totals.append(sum(predicted(node_costs(item.graph, shape), machine, fused=False).values(), Predicted()))
    times = by_turns(jobs, rounds)
    rows = []
    for n, (item, total) in enumerate(zip(found, totals, strict=True)):
        spread = Spread.of(times[f"{n}"]["ms"])
        rows.append(
            Row(
                item.part, item.cell, item.name, total.flops / 1e6, total.bytes / 1e6, 1000 * total.seconds,
                total.bound, spread.median_ms, spread.iqr_ms, spread.least_ms,
            )
        )  # fmt: skip
    return rows


def main() -> None:
    """Measure, print the page, save the rows and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    asked = parser.parse_args()
    machine = this_machine("cpu", asked.threads, fresh=True)
    with threads(asked.threads):
        rows = measured(machine, asked.rounds)
    print("# FLOPs against time\n")
    print(f"`{shlex.join(['python', *sys.argv])}`: weights and images of seed 0, float32, eager torch, one image,")
    print(f"median of {asked.rounds} rounds by turns. effscope {version('effscope')}, torch {version('torch')},")
    print(f"{machine.name}: {machine.peak('float32') / 1e9:.0f} GFLOP/s, {machine.bandwidth / 1e9:.1f} GB/s, ridge at")
    print(f"{machine.ridge('float32'):.1f} FLOPs per byte ({machine.source}).\n")
    print(page(rows))
    write_text(asked.out / "measured.csv", csv_text([row.told() for row in rows]))
    draw(rows, machine, asked.out / "flops-vs-time.png")


if __name__ == "__main__":
    main()
