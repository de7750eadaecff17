"""How long a training takes by what an idle OpenMP thread does, on a quiet machine and beside another torch process.

`python experiments/busy-machine/run.py` trains yolov8n on `builtin:shapes` in processes of their own, by turns, and
prints medians. The neighbour trains a network on as many threads as torch takes, with OpenMP's default.
The last column says how busy the machine was otherwise; quiet runs that others disturbed do not count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SETTINGS = {
    "default": {"GOMP_SPINCOUNT": "300000"},
    "PASSIVE": {"GOMP_SPINCOUNT": "0"},
    "1000 spins": {"GOMP_SPINCOUNT": "1000"},
    "3000 spins": {"GOMP_SPINCOUNT": "3000"},
    "10000 spins": {"GOMP_SPINCOUNT": "10000"},
    "one thread": {"GOMP_SPINCOUNT": "300000", "OMP_NUM_THREADS": "1"},
}
"""Settings of GNU's OpenMP, which torch has on Linux. Its default, 300000 spins, is about 3 ms."""

DEFAULT = "default"

QUIET = 0.15
"""Cores in use by other processes, at most, in a measurement that counts as quiet."""


@dataclass(frozen=True)
class Timed:
    """One training: median seconds of an epoch after the first, seconds as planned, cores that others used."""

    setting: str
    busy: bool
    seconds: float
    planned: float
    others: float


def train(epochs: int, images: int, imgsz: int) -> None:
    """Train in this process and print its times as JSON."""
    from effscope.api import train as trained  # noqa: PLC0415 - after the environment
    from effscope.layouts.expand import expand  # noqa: PLC0415
    from effscope.layouts.zoo.catalog import layout  # noqa: PLC0415
    from effscope.nn.build import build  # noqa: PLC0415
    from effscope.training.processes import processes  # noqa: PLC0415
    from effscope.training.speed import training_images_per_s  # noqa: PLC0415

    batch = 16
    before = machine_seconds()
    speed = training_images_per_s(build(expand(layout("yolov8n", 3))), imgsz, batch, processes("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        result = trained(
            "yolov8n", out=folder, data="builtin:shapes", imgsz=imgsz, epochs=1 + epochs, batch=batch, eval_every=0,
            limit_train=images, limit_val=8, device="cpu", recipe="quick",
        )  # fmt: skip
    wall, used = (after - start for after, start in zip(machine_seconds(), before, strict=True))
    seconds = statistics.median(row["seconds"] for row in result.history[1:])
    print(json.dumps({"seconds": seconds, "planned": images / speed, "others": used / wall}))


def machine_seconds() -> tuple[float, float]:
    """Seconds now, and CPU seconds of all other processes."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    busy = sum(ticks) - ticks[3] - ticks[4]  # without idle and waiting for a disk
    return time.monotonic(), busy / os.sysconf("SC_CLK_TCK") - time.process_time()


def keep_busy() -> None:
    """Train a small network until somebody ends this process."""
    import torch  # noqa: PLC0415 - after the environment

    layers = [layer for _ in range(8) for layer in (torch.nn.Conv2d(32, 32, 3, padding=1), torch.nn.ReLU())]
    network, images = torch.nn.Sequential(*layers), torch.rand(8, 32, 40, 40)
    while True:
        network(images).square().mean().backward()


def child(setting: str, *words: object) -> subprocess.Popen[str]:
    """This script in another process."""
    others = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in others} | SETTINGS[setting]
    line = [sys.executable, __file__, *map(str, words)]
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def timed(setting: str, busy: bool, words: list[object]) -> Timed:
    """Train once."""
    neighbour = child(DEFAULT, "--busy") if busy else None
    try:
        if busy:
            time.sleep(4)  # until it computes
        printed, errors = (process := child(setting, "--train", *words)).communicate()
    finally:
        if neighbour:
            neighbour.kill()
            neighbour.communicate()
    if process.returncode:
        sys.exit(errors[-3000:])
    return Timed(setting, busy, **json.loads(printed.splitlines()[-1]))


def table(found: list[Timed]) -> str:
    """Medians by machine and setting, beside the default of the same machine."""
    lines = [
        "| machine | setting | epoch s | of the default | each | planned s | cores that others used |",
        "| :-- | :-- | --: | --: | :-- | --: | --: |",
    ]
    for busy in sorted({run.busy for run in found}):
        rows = [run for run in found if run.busy == busy and (busy or run.others <= QUIET)]
        at = {name: [run for run in rows if run.setting == name] for name in SETTINGS}
        for name, runs in at.items():
            if not runs:
                continue
            epoch = statistics.median(run.seconds for run in runs)
            base = statistics.median(run.seconds for run in at[DEFAULT] or runs)
            each = " ".join(f"{run.seconds:.2f}" for run in runs)
            planned, others = (
                statistics.median(getattr(run, field) for run in runs) for field in ("planned", "others")
            )
            lines.append(
                f"| {'busy' if busy else 'quiet'} | {name} | {epoch:.2f} | {epoch / base:.2f} | {each} | "
                f"{planned:.2f} | {others:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--settings", choices=SETTINGS, nargs="+", default=list(SETTINGS))
    parser.add_argument("--machine", choices=("quiet", "busy", "both"), default="both")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3, help="epochs that count; one more comes first")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--train", type=int, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--busy", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.busy:
        keep_busy()
    if given.train:
        return train(*given.train)
    machines = {"quiet": [False], "busy": [True], "both": [False, True]}[given.machine]
    words: list[object] = [given.epochs, given.images, given.imgsz]
    found = []
    for _ in range(given.repeats):
        for busy in machines:
            for setting in given.settings:
                found.append(timed(setting, busy, words))
                print(found[-1], file=sys.stderr, flush=True)
    print(table(found))
    print(f"\n{os.cpu_count()} cores, {platform.machine()}, python {platform.python_version()}")
    return None


if __name__ == "__main__":
    main()
