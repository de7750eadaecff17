"""Settings of `effscope search`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from effscope.config.checks import (
    Checked,
    at_least,
    duration_text,
    fraction,
    image_side,
    one_of,
    positive,
    seed_number,
)
from effscope.config.training import BUILTIN_SHAPES, SharedSettings, proxy, sized
from effscope.recipes import Recipe


@dataclass(frozen=True)
class DistilConfig(Checked):
    """How a swapped part gets its weights without labels: in closed form, then by AdamW steps with a falling rate.

    64 images suffice for the closed form; the steps gain from more. Each image is used as it is and mirrored.
    """

    images: int = 128
    steps: int = 300
    batch: int = 16
    lr: float = 1e-3
    max_bytes: int = 1 << 29  # limit of the recorded inputs and outputs; recording stops there

    CHECKS: ClassVar = {"images": at_least(1), "steps": at_least(0), "batch": at_least(1), "lr": positive}


@dataclass(frozen=True)
class SearchConfig(Checked):
    """`effscope search`. Training fields are as in `TrainConfig`.

    The base trains for `base_epochs`, or half of them if it starts from weights of other classes; each candidate for
    `epochs`. If the AP of the base is below `learned_ap`, the search ends without a candidate.
    """

    base: str = "yolov8n"
    weights: str | None = None
    data: str = BUILTIN_SHAPES
    move: str = "cib"
    head: str = "light"
    rule: str = "noninferior"
    margin: float = 0.01
    runs: int = 5
    budget: str | None = None  # longest duration, like 2h
    runtime: str | None = None  # of latencies: onnx | torch; None: onnx on a CPU, torch on a GPU
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
    proxy_recipe: Recipe | None = None  # None: `gentle,distil_gain=1` if the weights know the classes, else `quick`

    CHECKS: ClassVar = {
        "move": one_of("cib", "cib-lk"), "head": one_of("light", "keep"), "margin": fraction, "runs": at_least(2),
        "budget": duration_text,
        "rule": one_of("noninferior", "margin", "paper"), "runtime": one_of("onnx", "torch"),
        "at": one_of("stage", "block", "all"), "imgsz": image_side,
        "base_epochs": at_least(1), "epochs": at_least(1), "batch": at_least(1), "seed": seed_number,
        "limit_train": at_least(1), "limit_val": at_least(1), "learned_ap": fraction,
    }  # fmt: skip


class SearchSettings(SharedSettings, total=False):
    """Arguments of `effscope.search` except the base; see `SearchConfig`. None means not given."""

    weights: str | None
    move: str
    head: str
    rule: str
    margin: float
    runs: int
    budget: str | None
    runtime: str | None
    at: str
    threshold: float | str
    base_epochs: int | None
    learned_ap: float
    distil: DistilConfig
    proxy_recipe: str | Recipe | Mapping[str, Any] | None


def search_config(settings: Mapping[str, Any]) -> SearchConfig:
    """The config of a search from the user's settings; None means not given. `PROXIES` has the default sizes.

    Raises:
        EffscopeError: an unknown setting, or an invalid value.
    """
    return sized(SearchConfig, vars(proxy(settings.get("data") or BUILTIN_SHAPES)), settings)
