"""What every job of a search works with: the settings, the base as given, the data. Opened when first needed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from effscope.config import SearchConfig
from effscope.detect.bank import Banks
from effscope.detect.splits import Splits, decode, load_splits
from effscope.errors import EffscopeError
from effscope.layouts.moves import move
from effscope.models.open import open_model
from effscope.models.opened import Model
from effscope.nn.build import digest
from effscope.nn.precision import pick_device
from effscope.progress import Progress, Say, silent, unsaid
from effscope.spec.layout import Layout

TUNE_SHARE = 0.5
"""Share of `base_epochs` that a base is trained for when it starts from weights of other classes."""


@dataclass(frozen=True)
class Context:
    """The inputs of a search. Another process makes its own from `config`, `threads` and `device`.

    Attributes:
        config: the search.
        threads: of the processor, for every job.
        device: "cpu", "cuda" or "cuda:N".
        progress, say: told while images are decoded, and what is wrong with the data.
    """

    config: SearchConfig
    threads: int
    device: str
    progress: Progress = silent
    say: Say = unsaid

    def on(self, threads: int) -> Context:
        """The same with another number of threads; what is open stays open."""
        other = replace(self, threads=threads)
        vars(other).update(vars(self) | {"threads": threads})
        return other

    @cached_property
    def given(self) -> Model:
        """The base as the user gave it, with the weights of a second file if one is named."""
        return given_base(self.config)

    @cached_property
    def splits(self) -> Splits:
        """Train and validation split; no pixels are read."""
        return load_splits(self.config.data, self.config.limit_train, self.config.limit_val, self.say)

    @cached_property
    def banks(self) -> Banks:
        """Both splits decoded at the size of the training."""
        return decode(self.splits, self.config.imgsz, self.progress, self.say)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the data."""
        return self.splits[0].classes

    @cached_property
    def layout(self) -> Layout:
        """The layout the search starts from: the given one for the data's classes, with the head the config names."""
        layout = replace(self.given.layout, nc=len(self.classes))
        return move(layout, "light-head") if self.config.head == "light" else layout

    @property
    def base_epochs(self) -> int:
        """Epochs of the base: fewer when it starts from weights."""
        epochs = self.config.base_epochs
        return epochs if self.given.state is None else max(round(TUNE_SHARE * epochs), 1)

    @cached_property
    def digests(self) -> dict[str, str]:
        """What the search starts from: hashes of layout, weights and both splits, and the classes the weights know.

        A split's hash is of its images' names and sizes, boxes and labels. The classes decide whether the base is
        trained.
        """
        train, val = self.splits
        return {
            "layout": self.layout.digest(),
            "weights": digest(self.given.state or {}),
            "classes": json.dumps(self.given.classes),
            "train": train.digest,
            "val": val.digest,
        }

    @property
    def inputs(self) -> dict[str, Any]:
        """Everything but the settings that decides outcomes."""
        return {**self.digests, "threads": self.threads, "device": pick_device(self.device).type}


def given_base(config: SearchConfig) -> Model:
    """The base, with the weights of a second file if one is named.

    Raises:
        EffscopeError: no such model, or weights of another one.
    """
    given = open_model(config.base)
    if config.weights is None:
        return given
    weights = open_model(config.weights)
    if weights.state is None:
        raise EffscopeError(f"{config.weights} holds no weights: give a weights file or a run folder")
    if _body(weights.layout) != _body(given.layout):
        raise EffscopeError(
            f"{config.weights} is a {weights.layout.name}, `base` is another {given.layout.name}: "
            "give weights of the base, or name them as `base`"
        )
    return replace(weights, name=given.name)


def _body(layout: Layout) -> object:
    """What decides whether weights belong to a layout: everything but the head and the class count."""
    return layout.scale, [layer for layer in layout.layers if layer.block != "Detect"]
