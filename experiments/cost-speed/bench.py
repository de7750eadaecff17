"""How long a cost takes: `make bench-cost` writes reports/cost-speed/speed.md from what this prints. No test is timed.

1. `effscope cost yolov8s --json -` and `effscope cost --layer conv3x3 --cin 256` as whole processes, by turns with
   Ultralytics' `info()` of yolov8s and with the other counters, each in its own process.
2. One count of yolov8s in this process, by turns: every node of the opened model; its whole result (rows by layer,
   stage and primitive, four forms, peaks of memory); the same from the name, with its graph made first.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from effscope.api import cost
from effscope.costing.model import cost_graph
from effscope.costing.nodes import node_costs, total
from effscope.layouts.expand import expand, outline
from effscope.layouts.zoo.catalog import layout
from effscope.results import version

PEERS = Path(__file__).parents[2] / "tests" / "peers" / ".venv" / "bin" / "python"
ROUNDS, REPEATS = 7, 20
IMAGE = (1, 3, 640, 640)

INFO = 'from ultralytics import YOLO; YOLO("yolov8s.yaml", verbose=False).info()'
BUILT = """
import torch
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import build, view
module, image = view(build(expand(layout("yolov8s"))), "decoded").eval(), torch.zeros(1, 3, 640, 640)
"""
TOOLS = {
    "fvcore": "from fvcore.nn import FlopCountAnalysis\nFlopCountAnalysis(module, image).total()",
    "thop": "from thop import profile\nprofile(module, inputs=(image,), verbose=False)",
    "torch's FlopCounterMode": (
        "from torch.utils.flop_counter import FlopCounterMode\n"
        "with torch.no_grad(), FlopCounterMode(display=False):\n    module(image)"
    ),
}


def process(*words: str, python: Path | str = sys.executable) -> Callable[[], object]:
    """A job that runs the process and drops its output."""
    quiet = os.environ | {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": "/tmp"}
    return lambda: subprocess.run([python, *words], check=True, capture_output=True, env=quiet)


def by_turns(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each job, round by round, after one round that does not count."""
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(rounds + 1):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            if turn:
                spent[name].append(time.perf_counter() - began)
    return spent


def table(spent: dict[str, list[float]], first: str, unit: float) -> str:
    """Median, least and most of each job, and the median over rounds of its time / that of the job `first`."""
    lines = ["| | median | least | most | times the first |", "| :-- | --: | --: | --: | --: |"]
    for name, seconds in spent.items():
        ratio = statistics.median(b / a for a, b in zip(spent[first], seconds, strict=True))
        shown = (f"{unit * value:.2f}" for value in (statistics.median(seconds), min(seconds), max(seconds)))
        lines.append(f"| {name} | {' | '.join(shown)} | {ratio:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Print the page."""
    words = ("-m", "effscope", "cost")
    jobs = {
        "effscope cost yolov8s --json -": process(*words, "yolov8s", "--json", "-"),
        "effscope cost --layer conv3x3 --cin 256": process(*words, "--layer", "conv3x3", "--cin", "256"),
        "effscope cost yolov8s": process(*words, "yolov8s"),
        'python -c "import torch"': process("-c", "import torch"),
        **{f"{name}, the network built here": process("-c", BUILT + code) for name, code in TOOLS.items()},
    }
    if PEERS.exists():
        jobs["Ultralytics' info()"] = process("-c", INFO, python=PEERS)
    print("# Cost: speed\n")
    print(f"`make bench-cost`, {ROUNDS} rounds by turns, seconds, bytecode cached.")
    names = ("effscope", "torch", "typer", "fvcore", "thop")
    print(", ".join(f"{n} {version(n)}" for n in names) + f", python {platform.python_version()}; {machine()}.\n")
    print(table(by_turns(jobs, ROUNDS), next(iter(jobs)), 1) + "\n")
    made = layout("yolov8s")
    graph, rows = expand(made), outline(made)
    inside: dict[str, Callable[[], object]] = {
        "every node of an opened model": lambda: total(node_costs(graph, IMAGE)),
        "the cost of an opened model": lambda: cost_graph(graph, rows, 640),
        'effscope.cost("yolov8s")': lambda: cost("yolov8s"),
    }
    print(f"One yolov8s at 640 px in this process, {REPEATS} rounds by turns, milliseconds:\n")
    print(table(by_turns(inside, REPEATS), next(iter(inside)), 1000))


def machine() -> str:
    """System, processor and cores."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return f"{platform.system()} {platform.machine()}, {cpu}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
