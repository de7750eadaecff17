"""Walk every command with the installed wheel and no extra: it works, or names its extra before it writes anything.

`make test-install` makes the environment next to this file and runs the script with its Python. Standard library only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

EFFSCOPE = Path(sys.executable).parent / "effscope"
TINY = "--imgsz 64 --limit-train 16 --limit-val 16"


class Step(NamedTuple):
    """A command line, its exit code, a word of its output, and variables of its environment."""

    words: str
    code: int = 0
    says: str = ""
    environment: tuple[tuple[str, str], ...] = ()


STEPS = (
    Step("--version", says="effscope "),
    Step("--help", says="search"),
    Step("cost yolov8s", says="11,166,560"),
    Step("cost yolov8n --by stage --device t4"),
    Step("cost --layer cib --symbolic", says="formulas"),
    Step("cost --scale yolov8n --phi 0,1"),
    Step("cost yolov10n --as ultralytics --explain"),
    Step("cost yolov8n --check", 2, "effscope[crosscheck]"),
    Step("cost yolov8n --as thop --check", 2, "effscope[crosscheck]"),
    Step("cost yolov8n --as torch --check --imgsz 64"),
    Step("cost torchvision:resnet18"),
    Step("cost timm:ghostnet_100", 2, "effscope[timm]"),
    Step("rank timm:ghostnet_100", 2, "effscope[timm]"),
    Step("diff yolov8n yolov10n"),
    Step("devices"),
    Step("zoo yolov10"),
    Step("zoo --backbones", 2, "effscope[timm]"),
    Step("rank yolov8n --out ranks"),
    Step("latency yolov8n --imgsz 64 --rounds 1"),
    Step("latency yolov8n --imgsz 64 --rounds 1 --runtime onnx"),
    Step(f"train yolov8n {TINY} --epochs 1 --track --out tracked", 2, "effscope[track]"),
    Step(
        f"train yolov8n {TINY} --epochs 1 --out many",
        2,
        "effscope[distributed]",
        (("WORLD_SIZE", "2"), ("RANK", "0"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29517")),
    ),
    Step(f"train yolov8n {TINY} --epochs 1 --out run", says="data: builtin:shapes"),
    Step("eval run --data builtin:shapes --limit-val 16 --errors --out eval"),
    Step("eval run --data builtin:shapes --limit-val 16 --runtime onnx"),
    Step("rank run --activations builtin:shapes --limit 4"),
    Step("compare run run --data builtin:shapes --limit-val 16"),
    Step("export run --to yaml,pt,safetensors,onnx,int8 --data builtin:shapes --out exported"),
    Step("export run --library --moves shallow --out library"),
    Step(f"search run {TINY} --library-only --moves shallow --learned-ap 0 --out search"),
)


def files(place: Path) -> set[Path]:
    """All files and folders of a folder."""
    return set(place.rglob("*"))


def walk(place: Path, step: Step) -> str:
    """Run a step in a folder. Returns what is wrong, or ""."""
    before, words = files(place), step.words.split()
    done = subprocess.run(
        [EFFSCOPE, *words], cwd=place, env={**os.environ, **dict(step.environment)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    if done.returncode != step.code:
        return f"exit code {done.returncode} instead of {step.code}: {said[-1000:]}"
    if step.says not in said:
        return f"does not say {step.says!r}: {said[-1000:]}"
    if step.code == 2 and (done.stdout or done.stderr.count("\n") != 1 or files(place) != before):
        return f"an error is one line and writes nothing: {said} {files(place) - before}"
    return ""


def main() -> None:
    """Walk all steps; exit code 1 if one of them is wrong."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for step in STEPS:
            began = time.monotonic()
            fault = walk(Path(folder), step)
            wrong += bool(fault)
            print(f"{time.monotonic() - began:6.1f} s  effscope {step.words}  {fault or 'ok'}", flush=True)
    print(f"{len(STEPS)} commands, {wrong} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
