"""Runs an experiment: `python experiments/run.py NAME [--data DIR]` reads experiments/NAME/run.toml.

run.toml has `question` and a table `[[step]]` per command: `name`, `command`, `keep` (files of the step's folder that
are copied to reports/NAME/<name>). In a command {data} is DIR, which holds `bccd/` (the BCCD data set in YOLO format)
and `weights/yolov8n_coco.pt` (Ultralytics' yolov8n.pt); {out} is the step's folder under runs/NAME. A finished step
takes no time when it runs again: effscope finds its folder.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent


def run_step(experiment: str, step: dict[str, object], data: str) -> None:
    """Run one command and copy what it keeps into the report."""
    out = Path("runs") / experiment / str(step["name"])
    words = shlex.split(str(step["command"]).format(data=data, out=out))
    print("$", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True)
    report = ROOT / "reports" / experiment / str(step["name"])
    report.mkdir(parents=True, exist_ok=True)
    for name in step["keep"]:  # type: ignore[attr-defined]
        shutil.copy(ROOT / out / name, report / name)


def main() -> None:
    """Run all steps of the named experiment, or only the steps that are named after it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", choices=[path.parent.name for path in sorted(HERE.glob("*/run.toml"))])
    parser.add_argument("steps", nargs="*")
    parser.add_argument("--data", default="data")
    arguments = parser.parse_args()
    plan = tomllib.loads((HERE / arguments.experiment / "run.toml").read_text(encoding="utf-8"))
    for step in plan["step"]:
        if not arguments.steps or step["name"] in arguments.steps:
            run_step(arguments.experiment, step, arguments.data)


if __name__ == "__main__":
    main()
