"""Commands with which the user goes on from a chosen model in Ultralytics."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path

from effscope.config.search import NO_LABELS
from effscope.results import SearchResult

EPOCHS = 100
"""Default length of a training in Ultralytics."""


def go_on(result: SearchResult) -> tuple[str, ...]:
    """Commands that export the chosen model and train it further; none if Ultralytics cannot build it."""
    config, yaml = result.origin.config, result.files.get("yaml")
    if config is None or yaml is None:
        return ()
    folder, fits = Path(yaml).parent, result.given is not None and result.given.ap is not None
    is_yaml = Path(config.data).suffix in (".yaml", ".yml") and Path(config.data).is_file()
    data = config.data if is_yaml and config.labels != NO_LABELS else "DATA.yaml"
    teacher = [f"distill_model={config.base}"] if fits and Path(config.base).suffix == ".pt" and _distils() else []
    exported = folder / "export"
    settings = [f"data={data}", f"imgsz={config.imgsz}", f"epochs={EPOCHS}", *teacher]
    train = shlex.join(["yolo", "detect", "train", f"model={exported / folder.name}.pt", *settings])
    return (
        f"`python -c \"import effscope; effscope.export({str(folder)!r}, 'pt', {str(exported)!r})\"`",
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
