"""How long ranks take: `make bench-rank` writes reports/rank-speed/speed.md from what this prints. No test is timed.

1. Singular values of every trainable convolution of yolov8x (103; the 104th is the fixed DFL one): effscope against a
   loop of float64 `torch.linalg.svdvals`, by turns in this process.
2. The whole `rank` of yolov8x at every convolution, stability of the order and separability included.
3. `effscope rank yolov8s` as a process against `python -c "import torch"`, by turns.
4. yolov8s at every convolution: effscope in this process, WeightWatcher's analysis in the peers' environment.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from effscope.config import RankConfig
from effscope.models.open import open_model
from effscope.ranking.convs import every_conv
from effscope.ranking.kernels import kernels
from effscope.ranking.models import rank_model
from effscope.ranking.thresholds import cut, spectra_for
from effscope.results import version
from effscope.thresholds import read_threshold

PEERS = Path(__file__).parents[2] / "tests" / "peers" / ".venv" / "bin" / "python"
ROUNDS = 5
WATCHED = """
import time, warnings, logging
warnings.simplefilter("ignore"); logging.disable(logging.CRITICAL)
import torch
from ultralytics import YOLO
import weightwatcher
torch.manual_seed(0)
model = YOLO("yolov8s.yaml", verbose=False).model
began = time.perf_counter()
rows = weightwatcher.WeightWatcher(model=model).analyze()
print(f"{time.perf_counter() - began:.2f} {len(rows)} {weightwatcher.__version__}")
"""


def by_turns(*jobs: Callable[[], object]) -> list[list[float]]:
    """Seconds of each job, round by round."""
    spent: list[list[float]] = [[] for _ in jobs]
    for _ in range(ROUNDS):
        for job, into in zip(jobs, spent, strict=True):
            began = time.perf_counter()
            job()
            into.append(time.perf_counter() - began)
    return spent


def row(name: str, seconds: list[float], ratio: str = "") -> str:
    """A line of the table: median, least and most of the rounds."""
    return f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {max(seconds):.2f} | {ratio} |"


def over(a: list[float], b: list[float]) -> str:
    """The median of a / b, round by round."""
    return f"{statistics.median(x / y for x, y in zip(a, b, strict=True)):.2f} x"


def main() -> None:
    """Print the page."""
    half = read_threshold("half")
    opened = open_model("yolov8x")
    network = opened.network()
    found = list(kernels(network.spec, network.state_dict(), [conv.node for conv in every_conv(network.spec)]).values())

    def ours() -> list[int]:
        values = spectra_for(found, [half])
        return [cut(half, v, k.shape, k.eps).rank for v, k in zip(values, found, strict=True)]

    def loop() -> list[int]:
        counts = []
        for kernel in found:
            values = torch.linalg.svdvals(torch.from_numpy(kernel.blocks()[0]))
            counts.append(int((values > 0.5 * values[0]).sum()))
        return counts

    assert ours() == loop()
    print("# Ranks: speed\n")
    print(f"`make bench-rank`, weights of seed 0, {ROUNDS} rounds by turns, seconds.")
    names = ("effscope", "torch", "numpy")
    print(", ".join(f"{n} {version(n)}" for n in names) + f", python {platform.python_version()}; {_machine()}.\n")
    head = "| | median | least | most | {} |\n| :-- | --: | --: | --: | --: |"
    print(head.format("SVD loop / ours"))
    fast, slow = by_turns(ours, loop)
    print(row(f"yolov8x, {len(found)} convolutions: singular values", fast, over(slow, fast)))
    print(row("the same, loop of float64 torch.linalg.svdvals", slow))
    given = replace(opened, state=network.state_dict())
    (whole,) = by_turns(lambda: rank_model(given, RankConfig(at="all")))
    print(row("the whole ranking: with raw weights, 5 thresholds, null, separability", whole) + "\n")
    print(head.format("ours / import torch"))
    rank, alone = ["-m", "effscope", "rank", "yolov8s", "-q"], ["-c", "import torch"]
    process, torch_alone = by_turns(
        *(lambda words=words: subprocess.run([sys.executable, *words], check=True) for words in (rank, alone))
    )
    print(row("effscope rank yolov8s, whole process", process, over(process, torch_alone)))
    print(row('python -c "import torch"', torch_alone) + "\n")
    small = open_model("yolov8s")
    began = time.perf_counter()
    rows = rank_model(small, RankConfig(at="all")).stages
    spent = time.perf_counter() - began
    print(f"yolov8s, every convolution: effscope {spent:.2f} s ({len(rows)} convolutions, building it included);")
    print(_weightwatcher(spent))


def _machine() -> str:
    cpu = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), ""
    )
    return f"{platform.system()} {platform.machine()}, {cpu}, {os.cpu_count()} cores"


def _weightwatcher(ours: float) -> str:
    if not PEERS.exists():
        return "WeightWatcher: not measured, no peers' environment"
    quiet = os.environ | {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": "/tmp"}
    done = subprocess.run([PEERS, "-c", WATCHED], capture_output=True, text=True, env=quiet, check=False)
    if done.returncode:
        return f"WeightWatcher: not measured: {done.stderr.strip().splitlines()[-1]}"
    seconds, layers, number = done.stdout.split()[-3:]
    return f"WeightWatcher {number} {seconds} s ({layers} layers it takes), {float(seconds) / ours:.0f} times as long."


if __name__ == "__main__":
    main()
