"""Commands with which the user goes on from a chosen model in Ultralytics."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from effscope.config import SearchConfig

EPOCHS = 100
"""Default length of a training in Ultralytics."""


def go_on(config: SearchConfig, folder: Path) -> tuple[str, ...]:
    """Commands that export the chosen model and train it further.

    Args:
        config: settings of the search.
        folder: folder of the run, with `model.yaml`.
    """
    data = config.data if Path(config.data).suffix in (".yaml", ".yml") else "DATA.yaml"
    teacher = f" distill_model={config.base}" if Path(config.base).suffix == ".pt" and _distils() else ""
    return (
        f"`effscope export {folder} --to pt --out {folder}/export`",
        f"`yolo detect train model={folder}/export/{folder.name}.pt data={data} imgsz={config.imgsz} epochs={EPOCHS}"
        f"{teacher}`",
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
