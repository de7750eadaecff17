"""Run an experiment: `python experiments/run.py NAME [STEP ...] [--data DIR]` runs what experiments/NAME/run.toml says.

run.toml holds `question` and one table `[[step]]` per command: `name`, `command`, and `keep`, the files of the step's
folder that are copied to reports/NAME/<name>. In a command, {data} is DIR and {out} is the step's folder under
runs/NAME. DIR holds `bccd/` (the BCCD data set in YOLO format) and `weights/yolov8n_coco.pt` (Ultralytics' yolov8n.pt);
it is relative to the root of the repository. A finished step is not repeated: effscope finds its folder.

Without a step name, all steps run, in order. If a file of DIR is missing or a step fails, one line says so, and the
exit code is 2 or that of the step.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
BAD_INPUT = 2


def words_of(experiment: str, step: dict[str, Any], data: str) -> list[str]:
    """The command of a step, its placeholders filled in."""
    out = folder(experiment, step)
    return [word.format(data=data, out=out) for word in shlex.split(step["command"])]


def folder(experiment: str, step: dict[str, Any]) -> Path:
    """Folder of a step, relative to the root of the repository."""
    return Path("runs", experiment, step["name"])


def missing_files(experiment: str, steps: Iterable[dict[str, Any]], data: str) -> list[str]:
    """Files below `data` that the steps read and that do not exist."""
    read = {word for step in steps for word in words_of(experiment, step, data) if word.startswith(f"{data}/")}
    return sorted(word for word in read if not (ROOT / word).exists())


def run_step(experiment: str, step: dict[str, Any], data: str) -> None:
    """Run one command and copy the files that the report keeps. Exits with the command's exit code if it fails."""
    words = words_of(experiment, step, data)
    print("$", shlex.join(words), flush=True)
    code = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=False).returncode
    if code:
        print(f"experiments/{experiment}: step {step['name']} failed with exit code {code}", file=sys.stderr)
        sys.exit(code)
    made, report = ROOT / folder(experiment, step), ROOT / "reports" / experiment / step["name"]
    missing = [name for name in step["keep"] if not (made / name).is_file()]
    if missing:
        print(f"experiments/{experiment}: step {step['name']} has not written {', '.join(missing)}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    report.mkdir(parents=True, exist_ok=True)
    for name in step["keep"]:
        shutil.copy(made / name, report / name)


def main() -> None:
    """Run all steps of the named experiment, or only the steps that are named after it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=[path.parent.name for path in sorted(HERE.glob("*/run.toml"))])
    parser.add_argument("steps", nargs="*")
    parser.add_argument("--data", default="data")
    arguments = parser.parse_args()
    plan = tomllib.loads((HERE / arguments.experiment / "run.toml").read_text(encoding="utf-8"))
    names = [step["name"] for step in plan["step"]]
    for name in arguments.steps:
        if name not in names:
            parser.error(f"{arguments.experiment} has no step {name}; it has {', '.join(names)}")
    steps = [step for step in plan["step"] if not arguments.steps or step["name"] in arguments.steps]
    data = arguments.data.rstrip("/")
    missing = missing_files(arguments.experiment, steps, data)
    if missing:
        said = f"experiments/{arguments.experiment}: no {', '.join(missing)}: give the folder with --data\n"
        parser.exit(BAD_INPUT, said)
    for step in steps:
        run_step(arguments.experiment, step, data)


if __name__ == "__main__":
    main()
