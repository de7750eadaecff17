"""How detectors are trained: a frozen record of settings, three presets, and a parser of user input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from effscope.errors import EffscopeError, unknown


@dataclass(frozen=True)
class Recipe:
    """How a detector is trained. Augmentation and gains are as in YOLOv8.

    Source: YOLOv8's recipe in the YOLOv10 paper (arXiv 2405.14458, appendix), which is `RECIPES["paper"]`. The defaults
    differ because a proxy training is short: a step after every batch, AdamW at 2e-3, cosine decay.
    """

    optimizer: str = "adamw"  # adamw | sgd
    lr: float = 2e-3  # peak learning rate
    final_lr_ratio: float = 0.01  # last learning rate / peak
    schedule: str = "cosine"  # cosine | linear
    norms: str = "batch"  # statistics in batch norms: batch | fixed (the running ones, which do not change)
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: float = 3.0
    warmup_momentum: float | None = None  # momentum at the first step; None: `momentum`
    warmup_bias_lr: float | None = None  # learning rate of biases at the first step; None: 0, like all others
    grad_clip: float = 10.0
    nominal_batch: int = 16  # gradients are accumulated up to this many images
    ema_decay: float = 0.9999
    ema_ramp_steps: int = 2000  # decay(t) = ema_decay * (1 - exp(-t / ramp))
    box_gain: float = 7.5
    cls_gain: float = 0.5
    dfl_gain: float = 1.5
    distil_gain: float = 0.0  # weight of the base's answers in the short trainings of a search; 0: labels only
    assign_topk: int = 10
    assign_alpha: float = 0.5
    assign_beta: float = 6.0
    o2o_ratio: float = 1.0  # consistent matching: one-to-one exponents / one-to-many exponents
    o2o_alpha: float | None = None  # None: o2o_ratio * assign_alpha
    o2o_beta: float | None = None  # None: o2o_ratio * assign_beta
    hsv_h: float = 0.015
    hsv_s: float = 0.7
    hsv_v: float = 0.4
    translate: float = 0.1
    scale: float = 0.5
    flip_lr: float = 0.5
    flip_ud: float = 0.0
    mosaic: float = 1.0
    close_mosaic_epochs: int = 10
    least_side: float = 2.0  # px; augmentation drops boxes with a shorter side
    least_visible: float = 0.1  # augmentation drops boxes with a smaller visible share
    largest_aspect: float = 100.0  # augmentation drops boxes with a larger aspect


MIRRORED: dict[str, Any] = {"mosaic": 0.0, "scale": 0.0, "translate": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}
"""Augmentation that only mirrors images."""

RECIPES: dict[str, Recipe] = {
    "quick": Recipe(lr=1e-3, warmup_epochs=1.0, **MIRRORED),
    "plain": Recipe(**MIRRORED),
    "gentle": Recipe(lr=1e-5, norms="fixed", warmup_epochs=1.0, close_mosaic_epochs=5),
    "standard": Recipe(),
    "paper": Recipe(
        optimizer="sgd", lr=1e-2, schedule="linear", momentum=0.937, warmup_momentum=0.8, warmup_bias_lr=0.1,
        nominal_batch=64,
    ),
}  # fmt: skip
"""`quick`: a few epochs from trained weights; a smaller learning rate, and images only mirrored: AP ends higher and
varies less with the seed (reports/run-noise). `plain`: tens of epochs, images only mirrored; the base on
`builtin:shapes`. `gentle`: a few epochs at 1e-5 with fixed norms, and mosaic until five epochs before the end, for
weights that know the data's classes and shall not forget them. `standard`: tens of epochs, from scratch or weights.
`paper`: hundreds of epochs, as published for YOLOv10-N and -S (arXiv 2405.14458, appendix)."""

WORDS = {"optimizer": ("adamw", "sgd"), "schedule": ("cosine", "linear"), "norms": ("batch", "fixed")}
"""Fields with a fixed choice of words."""

POSITIVE = ("lr", "nominal_batch", "assign_topk", "ema_ramp_steps", "momentum", "warmup_momentum")
SHARES = ("mosaic", "flip_lr", "flip_ud", "ema_decay", "final_lr_ratio", "least_visible", "translate")
BELOW_ONE = ("momentum", "warmup_momentum", "scale")
TINY, LARGE = 1e-6, 1e9
KINDS = {"int": "a whole number", "float": "a number", "float | None": "a number or none", "str": "a word"}
"""Type of a field -> its name in messages."""


def read_recipe(given: str | Recipe | Mapping[str, Any]) -> Recipe:
    """Parse a recipe.

    Args:
        given: a `Recipe`; or a string with a preset and changes to it: "standard,lr=0.001,mosaic=0"; or a dict of
            changes to `standard`.

    Raises:
        EffscopeError: an unknown preset or field, or a value out of range.
    """
    if isinstance(given, Recipe):
        return _changed(given, asdict(given))
    if isinstance(given, str):
        name, *changes = (word.strip() for word in given.split(","))
        if name not in RECIPES:
            raise unknown("recipe", name, RECIPES)
        pairs = [change.partition("=") for change in changes if change]
        for key, equals, _ in pairs:
            if not equals:
                raise EffscopeError(f"recipe: '{key}' changes nothing: write {key}=VALUE")
        return _changed(RECIPES[name], {key.strip(): value.strip() for key, _, value in pairs})
    if not isinstance(given, Mapping):
        raise EffscopeError(
            f"a recipe is the name of a preset with changes after it, or a dict of changes, not {given!r}"
        )
    return _changed(RECIPES["standard"], given)


def _changed(base: Recipe, changes: Mapping[str, Any]) -> Recipe:
    kinds = {field.name: str(field.type) for field in fields(Recipe)}
    values: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in kinds:
            raise unknown("recipe field", name, kinds)
        try:
            values[name] = _value(value, kinds[name])
        except (TypeError, ValueError):
            raise EffscopeError(f"recipe: {name}={value} is not {KINDS[kinds[name]]}") from None
    return _checked(replace(base, **values))


def _value(value: Any, kind: str) -> Any:
    if "None" in kind and value in (None, "none", "None"):
        return None
    if kind == "int" and not isinstance(value, str) and int(value) != value:
        raise ValueError
    return {"str": str, "int": int}.get(kind, float)(value)


def _checked(recipe: Recipe) -> Recipe:
    for name, words in WORDS.items():
        if getattr(recipe, name) not in words:
            raise unknown(name, getattr(recipe, name), words)
    for field in fields(Recipe):
        value = getattr(recipe, field.name)
        if isinstance(value, str) or value is None:
            continue
        least = 0 if field.name not in POSITIVE else 1 if str(field.type) == "int" else TINY
        most = 1.0 if field.name in SHARES else 1 - TINY if field.name in BELOW_ONE else LARGE
        if not least <= value <= most:
            raise EffscopeError(f"recipe: {field.name} is {value}, it must be from {least:g} to {most:g}")
    return recipe
