"""How fast and how well yolov8n trains here and in Ultralytics: `make bench-train DATA=.../bccd` prints the page.

Both train from scratch, at the same size, batch and epochs, by turns, each run a process of its own; speed is
training images over the wall time of that process: start, reading, training and one evaluation at the end. Then both
packages evaluate the weights of both. Needs the peers' environment. Finished runs are kept in runs/train-speed.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from effscope.api import eval as evaluate
from effscope.api import export
from effscope.data.load import load
from effscope.files import write_text
from effscope.nn.precision import gains_from_bfloat16
from effscope.results import version

EPOCHS, IMGSZ, BATCH, SEEDS = 20, 256, 16, (0, 1, 2)
PEERS = Path(__file__).parents[2] / "tests" / "peers" / ".venv" / "bin" / "python"
THEIRS = Path(__file__).with_name("theirs.py")
WORK = Path("runs/train-speed").absolute()
DEVICE = "cuda:0" if torch.cuda.is_available() else "cpu"
NAMES = {"effscope": "effscope", "ultralytics": "Ultralytics"}


@dataclass(frozen=True)
class Run:
    """One training: by which package, seed, seconds of the whole process, peak MiB with its workers, weights."""

    who: str
    seed: int
    seconds: float
    peak_mb: float
    weights: str


def copy_of(data: Path) -> Path:
    """A copy of the data: Ultralytics writes label caches beside the images."""
    place = WORK / "data"
    if not place.exists():
        shutil.copytree(data, place)
        file = place / "data.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"path": str(place)}))
    return place / "data.yaml"


def watched(words: list[str]) -> tuple[float, float, str]:
    """Run a process. Returns seconds, peak MiB with its children (shared pages count once), and its output."""
    quiet = os.environ | {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(WORK)}
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=quiet)
    peak, over = 0.0, threading.Event()

    def look() -> None:
        nonlocal peak
        while not over.wait(0.25):
            peak = max(peak, sum(map(proportional_mb, family(process.pid))))

    watcher = threading.Thread(target=look)
    watcher.start()
    printed, _ = process.communicate()
    seconds = time.perf_counter() - began
    over.set()
    watcher.join()
    if process.returncode:
        sys.exit(printed[-3000:])
    return seconds, peak, printed


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in family(int(child)))]


def proportional_mb(pid: int) -> float:
    """MiB of a process; a page that k processes share counts 1/k in each (PSS)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def trained(who: str, seed: int, data: Path) -> Run:
    """Train once, or read the finished run."""
    out = WORK / f"{who}-seed{seed}"
    kept = out.with_suffix(".json")
    if kept.exists():
        return Run(**json.loads(kept.read_text()))
    if who == "effscope":
        flags = {"--data": data, "--imgsz": IMGSZ, "--epochs": EPOCHS, "--batch": BATCH, "--seed": seed}
        flags |= {"--device": DEVICE, "--eval-every": 0, "--out": out}
        words = [str(word) for pair in flags.items() for word in pair]
        seconds, peak, _ = watched([sys.executable, "-m", "effscope", "train", "yolov8n", *words, "-q"])
        weights = out / "model.safetensors"
    else:
        words = [str(word) for word in (PEERS, THEIRS, "train", data, EPOCHS, seed, DEVICE, out)]
        seconds, peak, _ = watched(words)
        weights = out / "weights" / "last.pt"
    run = Run(who, seed, seconds, peak, str(weights))
    write_text(kept, json.dumps(run.__dict__))
    print(f"{who} seed {seed}: {seconds:.0f} s, {peak:.0f} MiB", file=sys.stderr, flush=True)
    return run


def scores(run: Run, data: Path) -> dict[str, float]:
    """AP of a run's weights: by COCO's rule, as Ultralytics' `val` scores, and by that itself."""
    ours, like = (
        evaluate(run.weights, str(data), imgsz=IMGSZ, device="cpu", convention=name) for name in ("coco", "ultralytics")
    )
    pt = run.weights
    if run.who == "effscope":
        pt = export(run.weights, ["pt"], out=WORK / f"{run.who}-seed{run.seed}-pt").files["pt"]
    _, _, printed = watched([str(word) for word in (PEERS, THEIRS, "val", pt, data, IMGSZ)])
    theirs = json.loads(printed.strip().splitlines()[-1])
    return {"coco": ours.ap, "coco50": ours.ap50, "like": like.ap, "theirs": theirs["ap"]}


def page(runs: list[Run], found: list[dict[str, float]], images: int) -> str:
    """The table and its summary."""
    speed = {who: [EPOCHS * images / run.seconds for run in runs if run.who == who] for who in NAMES}
    ap = {who: [s["coco"] for run, s in zip(runs, found, strict=True) if run.who == who] for who in NAMES}
    peak = {who: [run.peak_mb for run in runs if run.who == who] for who in NAMES}
    lines = [
        "| trained by | seed | images/s end to end | peak MiB | AP, COCO | AP50 | AP, `eval --as ultralytics` | AP, "
        "Ultralytics' val |",
        "| :-- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for run, s in zip(runs, found, strict=True):
        points = " | ".join(f"{100 * s[name]:.2f}" for name in ("coco", "coco50", "like", "theirs"))
        rate = EPOCHS * images / run.seconds
        lines.append(f"| {NAMES[run.who]} | {run.seed} | {rate:.1f} | {run.peak_mb:,.0f} | {points} |")
    ratios = [a / b for a, b in zip(speed["effscope"], speed["ultralytics"], strict=True)]
    difference = statistics.mean(ap["effscope"]) - statistics.mean(ap["ultralytics"])
    error = math.sqrt(sum(statistics.variance(values) / len(values) for values in ap.values()))
    return "\n".join(
        [
            *lines,
            "",
            f"- Speed, pair by pair: {', '.join(f'{ratio:.2f}' for ratio in ratios)} times Ultralytics' images per "
            f"second, {statistics.mean(ratios):.2f} in the mean.",
            f"- mAP50-95 on val: {100 * statistics.mean(ap['effscope']):.1f} against "
            f"{100 * statistics.mean(ap['ultralytics']):.1f} (means of {len(SEEDS)} seeds, COCO's rule), a difference "
            f"of {100 * difference:+.1f} points; two standard errors of it are {200 * error:.1f}.",
            f"- Peak memory of the process and its children: {max(peak['effscope']):,.0f} MiB at most against "
            f"{min(peak['ultralytics']):,.0f} at least.",
            f"- The same weights scored by both packages with the same letterbox (conf .001, IoU .7, at most 300 "
            f"detections): at most {max(abs(s['like'] - s['theirs']) for s in found):.4f} apart. By COCO's rule "
            f"AP differs by up to {max(abs(s['coco'] - s['theirs']) for s in found):.4f}: boxes are clipped to the "
            "image, and the image is padded less.",
        ]
    )


def main() -> None:
    """Print the page."""
    if len(sys.argv) != 2 or not Path(sys.argv[1], "data.yaml").is_file():
        sys.exit("usage: python experiments/train-speed/bench.py DATA, a folder with data.yaml (YOLO format)")
    if not PEERS.exists():
        sys.exit(f"error: no {PEERS}: `make peers` makes it")
    WORK.mkdir(parents=True, exist_ok=True)
    data = copy_of(Path(sys.argv[1]))
    runs = [trained(who, seed, data) for seed in SEEDS for who in NAMES]
    found = [scores(run, data) for run in runs]
    images = len(load(str(data), "train").samples)
    half = "bfloat16" if gains_from_bfloat16(torch.device("cpu")) else "float32 (the processor has no bfloat16)"
    where = "no GPU was measured" if DEVICE == "cpu" else torch.cuda.get_device_name()
    print(
        "# Training yolov8n on BCCD: effscope and Ultralytics\n\n"
        f"`make bench-train`: from scratch, {images} training images, {IMGSZ} px, batch {BATCH}, {EPOCHS} epochs, "
        f"each with its own defaults otherwise (Ultralytics: images cached in memory, no plots, no evaluation before "
        f"the end), by turns, each a process of its own on the same {os.cpu_count()} cores. effscope computes in "
        f"{half}, Ultralytics on a processor in float32.\n\n"
        f"{page(runs, found, images)}\n\n"
        f"effscope {version('effscope')}, torch {torch.__version__}, {their_version()}, python "
        f"{platform.python_version()}, {processor()}; {where}."
    )


def their_version() -> str:
    """Name and version of the other package."""
    words = [str(PEERS), "-c", "import importlib.metadata as m; print(m.version('ultralytics'))"]
    return "Ultralytics " + subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def processor() -> str:
    """Name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
