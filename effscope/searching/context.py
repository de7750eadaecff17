"""Inputs of every job of a search: the settings, the given base, the data. Each is loaded on its first use."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from effscope.config import SearchConfig
from effscope.config.search import NO_LABELS
from effscope.data.check import say_faults
from effscope.data.classes import relabelled
from effscope.data.load import load_images
from effscope.detect.bank import Banks, load_bank
from effscope.detect.pseudo import pseudo_labelled
from effscope.detect.splits import Splits, decode, load_splits
from effscope.errors import EffscopeError
from effscope.layouts.moves import move
from effscope.models.open import open_model
from effscope.models.opened import Model, colour_model
from effscope.nn.build import digest
from effscope.nn.fuse import deploy
from effscope.nn.precision import pick_device
from effscope.progress import Progress, Say, silent, unsaid
from effscope.recipes import RECIPES, Recipe
from effscope.results import Change
from effscope.searching.changes import changeable, library_of
from effscope.searching.truth import Truth, truth_of
from effscope.spec.graph import DECODED
from effscope.spec.layout import Layout

ANSWERS_LR = 3e-5
"""Learning rate where only a teacher's answers are learned."""

TUNE_SHARE = 0.5
"""Share of `base_epochs` for a base that starts from weights of other classes."""


@dataclass(frozen=True)
class Context:
    """The inputs of a search. Another process creates its own from `config`, `threads` and `device`.

    Attributes:
        config: settings of the search.
        threads: CPU threads of every job.
        device: "cpu", "cuda" or "cuda:N".
        progress, say: called while images are decoded, and with faults of the data.
    """

    config: SearchConfig
    threads: int
    device: str
    progress: Progress = silent
    say: Say = unsaid

    def on(self, threads: int) -> Context:
        """The same with another number of threads; what is open stays open."""
        return self._with(threads=threads)

    def within(self, **settings: Any) -> Context:
        """The same with other values of settings that change no input; decoded images are read again."""
        return self._with(config=replace(self.config, **settings))

    def _with(self, **fields: Any) -> Context:
        other = replace(self, **fields)
        opened = {name: value for name, value in vars(self).items() if name not in {"banks", *fields}}
        vars(other).update(opened)
        return other

    @cached_property
    def given(self) -> Model:
        """The base from the user, with the weights of a second file if one is given."""
        return given_base(self.config)

    @cached_property
    def splits(self) -> Splits:
        """Train and validation split; no pixels are read. Classes are in the order of the given weights if they are
        the same ones. Without labels the classes are those of the weights."""
        if self.config.labels == NO_LABELS:
            return self._images
        config = self.config
        train, val = load_splits(config.data, config.limit_train, config.limit_val, self.say, self.progress)
        known = self.given.classes
        if self.given.state is None or known in (None, train.classes) or sorted(known) != sorted(train.classes):
            return train, val
        return relabelled(train, known), relabelled(val, known)

    @property
    def _images(self) -> Splits:
        """Both splits without labels."""
        config, known = self.config, self.given.classes
        if self.given.state is None or known is None:
            raise EffscopeError("`labels` none needs a trained model with class names as `base`: it labels the images")

        def tell(_: float, text: str) -> None:
            self.progress(0.0, text)

        return (
            load_images(config.data, "train", known, config.limit_train, progress=tell),
            load_images(config.data, "val", known, config.limit_val, progress=tell),
        )

    @cached_property
    def banks(self) -> Banks:
        """Both splits decoded at the size of the training. Without labels your model's detections are the truth."""
        if self.config.labels != NO_LABELS:
            return decode(self.splits, self.config.imgsz, self.progress, self.say)
        network = deploy(self.given.network())
        banks = []
        for split in self.splits:
            bank = load_bank(split, self.config.imgsz, lambda _, text: self.progress(0.0, text))
            say_faults(bank.dataset, self.say)
            banks.append(pseudo_labelled(bank, network, self.device, self.config.batch))
        return Banks(*banks)

    @cached_property
    def truth(self) -> Truth | None:
        """In a search without labels: the labels of the validation images, if there are any."""
        config = self.config
        return truth_of(config.data, self.banks.val.dataset, self.given) if config.labels == NO_LABELS else None

    @cached_property
    def rival(self) -> Model | None:
        """The model that the user wants to compare with.

        Raises:
            EffscopeError: it has no weights, or other classes than the data.
        """
        if self.config.against is None:
            return None
        found = colour_model(open_model(self.config.against))
        if found.state is None:
            raise EffscopeError(f"`against` {found.name} has no weights: give a weights file or a run folder")
        if found.layout.nc != len(self.classes) or found.classes not in (None, self.classes):
            raise EffscopeError(f"`against` {found.name} knows other classes than the data, or in another order")
        if DECODED not in found.network().spec.views:
            raise EffscopeError(f"`against` {found.name} has a head that effscope cannot run: its AP is unknown")
        return found

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the data."""
        return self.splits[0].classes

    @cached_property
    def layout(self) -> Layout:
        """The layout of the base: the given one with the data's classes and the head from the config."""
        return move(self.yours, "light-head") if self.config.head == "light" else self.yours

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """Every change that the search may make.

        Raises:
            EffscopeError: no move can change anything.
        """
        found = changeable if self.config.policy == "greedy" else library_of
        return found(self.layout, self.config.moves)

    @cached_property
    def yours(self) -> Layout:
        """The given layout for the data's classes, with its own head."""
        return replace(self.given.layout, nc=len(self.classes))

    @property
    def fits(self) -> bool:
        """Whether the base has weights for the data's classes: then it is not trained."""
        given = self.given
        return (
            given.state is not None and given.classes in (None, self.classes) and given.layout.nc == len(self.classes)
        )

    @property
    def runtime(self) -> str:
        """What measures the latency: the user's choice; else onnxruntime on a CPU, torch on a GPU."""
        on_cpu = pick_device(self.device).type == "cpu"
        return self.config.runtime or ("onnx" if on_cpu else "torch")

    @property
    def proxy_recipe(self) -> Recipe:
        """The recipe of the short trainings: the user's; else `gentle` with the given model as the teacher if it knows
        the data's classes (reports/inheritance), and `quick` without a teacher if not. Without labels only the
        teacher's answers are learned: pseudo-labels lower the true AP (experiments/target)."""
        taught = replace(RECIPES["gentle"], distil_gain=1.0)
        if self.config.labels == NO_LABELS:
            taught = replace(taught, lr=ANSWERS_LR, box_gain=0.0, cls_gain=0.0, dfl_gain=0.0)
        return self.config.proxy_recipe or (taught if self.fits else RECIPES["quick"])

    @property
    def base_epochs(self) -> int:
        """Epochs of the base: none if its weights know the data's classes, fewer if it starts from others."""
        epochs = self.config.base_epochs
        if self.fits:
            return 0
        return epochs if self.given.state is None else max(round(TUNE_SHARE * epochs), 1)

    @cached_property
    def digests(self) -> dict[str, str]:
        """Hashes of the inputs: layout, weights and both splits.

        The class names of the weights are here too: they decide whether the base is trained.
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
    def rival_digest(self) -> str:
        """Hash of the model to compare with; empty without one."""
        return "" if self.rival is None else digest(self.rival.state or {})

    @property
    def inputs(self) -> dict[str, Any]:
        """Everything that decides outcomes, except the settings."""
        return {**self.digests, "threads": self.threads, "device": pick_device(self.device).type}


def given_base(config: SearchConfig) -> Model:
    """The base, with the weights of a second file if one is given.

    Raises:
        EffscopeError: no such model, or weights of another model.
    """
    given = colour_model(open_model(config.base))
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
    """The part of a layout that must match its weights: everything except the head and the class count."""
    return layout.scale, [layer for layer in layout.layers if layer.block != "Detect"]
