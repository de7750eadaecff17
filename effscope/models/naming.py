"""What MODEL names, from the name and the file system alone. Imports no torch, so a wrong name fails at once."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

from effscope.errors import EffscopeError
from effscope.layouts.zoo.catalog import ALIASES, ZOO

YAML_SUFFIXES = frozenset({".yaml", ".yml"})
WEIGHTS_SUFFIXES = frozenset({".pt", ".pth", ".safetensors", ".onnx", ".torchscript", ".pt2", ".ckpt"})
HUB_NAMES = ("torchvision", "timm")

RUN_RESULTS = ("train.json", "search.json")
"""What a run writes at its end."""

Kind = Literal["built in", "hub", "yaml", "weights", "run"]


@dataclass(frozen=True)
class Named:
    """What a name stands for.

    Attributes:
        kind: kind of model.
        name: name of the built-in layout or the hub's model, else the path.
        assumed: one line for the reader if the name is that of a file that does not exist, and the built-in layout of
            this name is meant; else "".
    """

    kind: Kind
    name: str
    assumed: str = ""

    @property
    def trained(self) -> bool:
        """Whether it may have trained weights: a weights file or a run folder."""
        return self.kind in ("weights", "run")


def find_model(model: str, weights_matter: bool = False) -> Named:
    """What a name stands for. No file is opened.

    A name in other letters (`YOLOv8n`), and the file name `yolov8n.yaml` or `yolov8n.pt` without such a file, stand for
    the built-in layout.

    Args:
        model: a name or a path.
        weights_matter: whether the answer depends on the weights: then `yolov8n.pt` without such a file is an error.

    Raises:
        EffscopeError: no such model, a folder without a model, or a package that is not installed.
    """
    hub = model.partition(":")[0]
    if hub in HUB_NAMES:
        if find_spec(hub) is None:
            raise EffscopeError(f'{hub} is not installed: pip install "effscope[{hub}]"')
        return Named("hub", model)
    if model in ZOO or model in ALIASES:
        return Named("built in", model)
    path = Path(model)
    if path.exists():
        return _existing(path, model)
    known, suffix = _built_in(path.stem), path.suffix.lower()
    if path.parent != Path() or suffix not in YAML_SUFFIXES | WEIGHTS_SUFFIXES:
        known, suffix = _built_in(model), ""
    if known is None:
        raise _missing(model)
    if suffix in WEIGHTS_SUFFIXES and weights_matter:
        raise EffscopeError(
            f"there is no file '{model}', and effscope downloads no weights: give the path of the file, or '{known}' "
            "for the built-in layout with random weights"
        )
    weights = ", without its weights" if suffix in WEIGHTS_SUFFIXES else ""
    assumed = f"there is no file '{model}': this is the built-in layout {known}{weights}" if suffix else ""
    return Named("built in", known, assumed)


def look_up(*models: Any, weights_matter: bool = True, trained: bool = False, setting: str = "") -> None:
    """Check names of models before anything slow is imported. Modules and None are not checked.

    Args:
        models: arguments as in `open_model`.
        weights_matter: as in `find_model`.
        trained: whether trained weights are needed.
        setting: name of the setting that names them, for the message.

    Raises:
        EffscopeError: no such model, or a model without trained weights.
    """
    for model in models:
        if not isinstance(model, (str, PathLike)):
            continue
        found = find_model(fspath(model), weights_matter)
        if trained and not found.trained:
            raise no_weights(f"`{setting}` {fspath(model)}" if setting else fspath(model))


def check_overwrites(written: Iterable[Path], *given: Any, setting: str = "out") -> None:
    """Refuse to write over what was given, before anything is written.

    Args:
        written: files that would be written.
        given: paths of models and data; what is no path, or does not exist, is passed over. A folder of a run stands
            for its weights.
        setting: the setting that names where to write.

    Raises:
        EffscopeError: a file that would be written is one of those given.
    """
    paths = [Path(one) for one in given if isinstance(one, (str, PathLike)) and Path(one).exists()]
    from effscope.workspace import RUN_WEIGHTS  # noqa: PLC0415 - a count needs none

    kept = [path for one in paths for path in (one, one / RUN_WEIGHTS) if path.exists()]
    for file in written:
        if file.exists() and any(file.samefile(path) for path in kept):
            raise EffscopeError(f"{file} is what was given, and would be written over: choose another `{setting}`")


def warn_of_assumed(*models: Any) -> None:
    """Warn, at the line that called effscope, of each name of a missing file that stands for a built-in layout.

    Args:
        models: arguments as in `open_model`, which can be opened; modules and None are passed over.
    """
    names = [fspath(model) for model in models if isinstance(model, (str, PathLike))]
    for assumed in dict.fromkeys(find_model(name).assumed for name in names):
        if assumed:
            warnings.warn(assumed, UserWarning, stacklevel=_frames_of_effscope())


def _frames_of_effscope() -> int:
    """How many callers, this function's own first, are code of effscope."""
    n, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
        n, frame = n + 1, frame.f_back
    return n


def no_weights(model: str) -> EffscopeError:
    """The error for a model that must have trained weights."""
    return EffscopeError(f"{model} has no weights: give a weights file or a run folder")


def _existing(path: Path, model: str) -> Named:
    if path.suffix.lower() in YAML_SUFFIXES and not path.is_dir():
        return Named("yaml", model)
    if not path.is_dir():
        return Named("weights", model)
    from effscope.workspace import IDENTITY, RUN_WEIGHTS  # noqa: PLC0415 - a count needs none

    if not (path / RUN_WEIGHTS).exists() and (path / IDENTITY).exists():
        raise _without_model(path, model)
    if not (path / RUN_WEIGHTS).exists():
        raise EffscopeError(f"{model} is a folder without {RUN_WEIGHTS}: give the folder of an effscope run")
    return Named("run", model)


def _without_model(path: Path, model: str) -> EffscopeError:
    """The error for the folder of a run that has no model, or not yet."""
    if any((path / result).exists() for result in RUN_RESULTS):
        return EffscopeError(f"{model} holds a run that ended without a model: give the weights file of another run")
    return EffscopeError(
        f"{model} holds a run that is not finished, so it has no model yet: run the same command again, it continues"
    )


def _built_in(name: str) -> str | None:
    """The built-in model of a name in any letters."""
    known = name.lower()
    return known if known in ZOO or known in ALIASES else None


def _missing(model: str) -> EffscopeError:
    path = Path(model)
    name = path.stem if path.suffix.lower() in YAML_SUFFIXES | WEIGHTS_SUFFIXES else path.name
    exact = _built_in(name)
    near = [exact] if exact else get_close_matches(name.lower(), ZOO, n=3, cutoff=0.6)
    meant = f"; did you mean the built-in {' or '.join(near)}?" if near else ""
    if path.suffix.lower() in YAML_SUFFIXES | WEIGHTS_SUFFIXES or path.parent != Path():
        return EffscopeError(f"there is no file or folder '{model}': check the path{meant}")
    give = (
        ": give a built-in name (`effscope zoo` lists them), a layout YAML, a weights file, a run folder, "
        "torchvision:NAME or timm:NAME"
    )
    return EffscopeError(f"'{model}' is neither a file nor a built-in model{meant or give}")
