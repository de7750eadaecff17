"""Settings of `effscope train`, and the sizes of proxy trainings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypedDict, TypeVar

from effscope.config.checks import Checked, at_least, configured, image_side, seed_number
from effscope.errors import counted
from effscope.recipes import RECIPES, Recipe, read_recipe

BUILTIN_SHAPES = "builtin:shapes"


def data_words(data: str, n_images: int) -> str:
    """The data of a plan in words: "480 images of data.yaml"."""
    drawn = " (drawn by effscope: no data of yours)" if data == BUILTIN_SHAPES else ""
    return f"{counted(n_images, 'image')} of {data}{drawn}"


@dataclass(frozen=True)
class Proxy:
    """Size of a proxy training: image side in px, epochs of the base, epochs of the short training, batch; recipe."""

    imgsz: int
    base_epochs: int
    epochs: int
    batch: int = 16
    recipe: Recipe = RECIPES["standard"]


PROXIES = {
    "builtin": Proxy(imgsz=160, base_epochs=20, epochs=4, recipe=RECIPES["plain"]),
    "data": Proxy(imgsz=256, base_epochs=60, epochs=10),
}
"""Defaults of the training settings: with `builtin:shapes` a search ends within ten minutes on two cores."""


def proxy(data: str) -> Proxy:
    """The default sizes for a data set."""
    return PROXIES["builtin" if data == BUILTIN_SHAPES else "data"]


def by_data(name: str) -> str:
    """A default of the training sizes in words."""
    own, shapes = (_words(getattr(PROXIES[key], name)) for key in ("data", "builtin"))
    return f"default: {own}" if own == shapes else f"default: {own}, with {BUILTIN_SHAPES} {shapes}"


def _words(value: object) -> str:
    return next((name for name, recipe in RECIPES.items() if recipe == value), str(value))


ABOUT_SHARED = {
    "data": f"data set: a YOLO data.yaml, a COCO or VOC folder, or {BUILTIN_SHAPES}, images that effscope draws",
    "imgsz": f"side of the image in px; {by_data('imgsz')}",
    "batch": f"images in a step; {by_data('batch')}",
    "seed": "seed of all random numbers",
    "device": "auto, cpu, cuda or cuda:N",
    "limit_train": "most training images, spread evenly over the split; default: all",
    "limit_val": "most validation images, spread evenly over the split; default: all",
    "recipe": f'name of a recipe ({", ".join(RECIPES)}), also with changes ("quick,lr=0.0005"), a dict of changes to '
    f"standard, or a `Recipe`; {by_data('recipe')}",
}
"""Settings that trainings and searches have in common -> a line for the help."""


@dataclass(frozen=True)
class TrainConfig(Checked):
    """One training: data, size, length, seed, device, recipe. The commands' defaults are in `PROXIES`."""

    data: str = BUILTIN_SHAPES
    imgsz: int = 256
    epochs: int = 60
    batch: int = 16
    seed: int = 0
    device: str = "auto"
    limit_train: int | None = None
    limit_val: int | None = None
    eval_every: int = 0
    freeze: int = 0
    unfreeze_epochs: int = 0
    recipe: Recipe = field(default_factory=Recipe)

    CHECKS: ClassVar = {
        "imgsz": image_side, "epochs": at_least(1), "batch": at_least(1), "seed": seed_number,
        "limit_train": at_least(1), "limit_val": at_least(1), "eval_every": at_least(0), "freeze": at_least(0),
        "unfreeze_epochs": at_least(0),
    }  # fmt: skip

    ABOUT: ClassVar = {
        **ABOUT_SHARED,
        "epochs": f"epochs; {by_data('base_epochs')}",
        "eval_every": "epochs between two evaluations, 0: only after the last; default: a tenth of `epochs`",
        "freeze": "number of layers, from the input, whose weights stay as they are",
        "unfreeze_epochs": "epochs over which frozen layers are freed again, the deepest first; 0: they stay frozen",
    }


class SharedSettings(TypedDict, total=False):
    """Arguments that trainings and searches have in common. None means not given."""

    data: str
    imgsz: int | None
    epochs: int | None
    batch: int | None
    seed: int
    device: str
    limit_train: int | None
    limit_val: int | None
    recipe: str | Recipe | Mapping[str, Any] | None


class TrainSettings(SharedSettings, total=False):
    """Arguments of `effscope.train`; see `TrainConfig`. None means not given."""

    eval_every: int | None
    freeze: int
    unfreeze_epochs: int


CURVE_POINTS = 10
"""Default number of evaluations during a training."""

K = TypeVar("K", bound=Checked)


def training_config(settings: Mapping[str, Any]) -> TrainConfig:
    """The config of a training from the user's settings; None means not given. `PROXIES` has the default sizes.

    Raises:
        EffscopeError: an unknown setting, or an invalid value.
    """
    size = proxy(settings.get("data") or BUILTIN_SHAPES)
    epochs = settings.get("epochs")
    epochs = size.base_epochs if epochs is None else epochs
    every = max(epochs // CURVE_POINTS, 1) if isinstance(epochs, int) else 1
    return sized(TrainConfig, {**vars(size), "epochs": epochs, "eval_every": every}, settings)


def sized(kind: type[K], sizes: Mapping[str, Any], settings: Mapping[str, Any]) -> K:
    """A config from `settings`, with recipes parsed; `sizes` has the defaults."""
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    given = {name: value for name, value in settings.items() if value is not None}
    recipes: dict[str, Any] = {name: read_recipe(given[name]) for name in ("recipe", "proxy_recipe") if name in given}
    return configured(kind, {**{k: v for k, v in sizes.items() if k in names}, **given, **recipes})
