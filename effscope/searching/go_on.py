"""Commands with which the user goes on from a chosen model in Ultralytics."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path

from effscope.config import SearchConfig
from effscope.config.search import NO_LABELS

EPOCHS = 100
"""Default length of a training in Ultralytics."""


def go_on(config: SearchConfig, folder: Path, fits: bool) -> tuple[str, ...]:
    """Commands that export the chosen model and train it further.

    Args:
        config: settings of the search.
        folder: folder of the run, with `model.yaml`.
        fits: whether the base knows the classes of the data: then it can teach.
    """
    is_yaml = Path(config.data).suffix in (".yaml", ".yml") and Path(config.data).is_file()
    data = config.data if is_yaml and config.labels != NO_LABELS else "DATA.yaml"
    teacher = [f"distill_model={config.base}"] if fits and Path(config.base).suffix == ".pt" and _distils() else []
    exported = folder / "export"
    settings = [f"data={data}", f"imgsz={config.imgsz}", f"epochs={EPOCHS}", *teacher]
    train = shlex.join(["yolo", "detect", "train", f"model={exported / folder.name}.pt", *settings])
    return (
        f"`{shlex.join(['effscope', 'export', str(folder), '--to', 'pt', '--out', str(exported)])}`",
        f"`{train}`: the data must list the classes in the order of the model",
    )


def _distils() -> bool:
    """Whether an Ultralytics is installed here that can distil; it is not imported."""
    try:
        found = find_spec("ultralytics")
    except (ImportError, ValueError):
        return False
    for place in (found.submodule_search_locations or ()) if found else ():
        settings = Path(place, "cfg", "default.yaml")
        if settings.is_file() and "distill_model:" in settings.read_text(encoding="utf-8"):
            return True
    return False
