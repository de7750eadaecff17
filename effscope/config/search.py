"""Settings of `effscope search`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, TypedDict

from effscope.config.checks import Checked, at_least, fraction, image_side, one_of, seed_number
from effscope.config.training import BUILTIN_SHAPES, proxy, sized
from effscope.recipes import RECIPES, Recipe


@dataclass(frozen=True)
class DistilConfig(Checked):
    """How a swapped stage is fitted to the stage it replaces: training images, AdamW steps, one-cycle rates."""

    images: int = 256
    steps: int = 300
    batch: int = 16
    lr: float = 2e-3
    peak_lr: float = 4e-3
    max_bytes: int = 1 << 30  # of recorded inputs and outputs; fewer images are taken when it is reached

    CHECKS: ClassVar = {"images": at_least(1), "steps": at_least(1), "batch": at_least(1)}


@dataclass(frozen=True)
class SearchConfig(Checked):
    """The main job. Training fields are as in `TrainConfig`.

    `base_epochs` train the base, half of them when it starts from weights of other classes; `epochs` train each
    candidate. A base whose AP is below `learned_ap` judges nothing.
    """

    base: str = "yolov8n"
    weights: str | None = None
    data: str = BUILTIN_SHAPES
    move: str = "cib"
    head: str = "light"
    rule: str = "margin"
    margin: float = 0.01
    at: str = "stage"
    threshold: float | str = 0.5
    imgsz: int = 256
    base_epochs: int = 60
    epochs: int = 10
    batch: int = 16
    seed: int = 0
    device: str = "auto"
    limit_train: int | None = None
    limit_val: int | None = None
    learned_ap: float = 0.20
    distil: DistilConfig = field(default_factory=DistilConfig)
    recipe: Recipe = field(default_factory=Recipe)
    proxy_recipe: Recipe = field(default_factory=lambda: RECIPES["quick"])

    CHECKS: ClassVar = {
        "move": one_of("cib", "cib-lk"), "head": one_of("light", "keep"), "rule": one_of("margin", "paper"),
        "margin": fraction, "at": one_of("stage", "block", "all"), "imgsz": image_side, "base_epochs": at_least(1),
        "epochs": at_least(1), "batch": at_least(1), "seed": seed_number, "limit_train": at_least(1),
        "limit_val": at_least(1), "learned_ap": fraction,
    }  # fmt: skip


class SearchSettings(TypedDict, total=False):
    """Arguments of `effscope.search` beside the base; see `SearchConfig`. None means not given."""

    weights: str | None
    data: str
    move: str
    head: str
    rule: str
    margin: float
    at: str
    threshold: float | str
    imgsz: int | None
    base_epochs: int | None
    epochs: int | None
    batch: int | None
    seed: int
    device: str
    limit_train: int | None
    limit_val: int | None
    learned_ap: float
    distil: DistilConfig
    recipe: str | Recipe | Mapping[str, Any] | None
    proxy_recipe: str | Recipe | Mapping[str, Any] | None


def search_config(settings: Mapping[str, Any]) -> SearchConfig:
    """The config of a search from what the user set; None means not set, sizes come from `PROXIES`.

    Raises:
        EffscopeError: a setting that does not exist, or a value that cannot be.
    """
    return sized(SearchConfig, asdict(proxy(settings.get("data") or BUILTIN_SHAPES)), settings)
