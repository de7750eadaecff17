"""Settings of `effscope search`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
from effscope.config.training import ABOUT_SHARED, BUILTIN_SHAPES, SharedSettings, by_data, proxy, sized
from effscope.errors import EffscopeError, unknown
from effscope.recipes import Recipe


@dataclass(frozen=True)
class DistilConfig(Checked):
    """How a swapped part gets its weights without labels: in closed form, then by AdamW steps with a falling rate.

    Each image is used as it is and mirrored.
    """

    images: int = 128
    steps: int = 200
    batch: int = 16
    lr: float = 1e-3
    max_bytes: int = 1 << 29  # limit of the recorded inputs and outputs; recording stops there

    CHECKS: ClassVar = {"images": at_least(1), "steps": at_least(0), "batch": at_least(1), "lr": positive}


MOVE_NAMES = ("cib", "cib-lk", "slim-75", "slim-50", "shallow", "scdown", "ghost", "light-head")
"""The moves of a search."""

COMPACT = ("cib", "cib-lk")
"""Moves after which Ultralytics builds no other head than the light one."""

FAMILIES = {
    "slim": ("slim-75", "slim-50"),
    "dense": ("slim-75", "slim-50", "shallow"),
    "all": tuple(name for name in MOVE_NAMES if name not in ("cib-lk", "light-head")),
}
"""Word in `moves` -> the moves it stands for."""

LESS = {"params": "fewer parameters", "flops": "fewer FLOPs", "latency": "less time"}
"""What a `target` may ask to save -> a saving of it in words."""

NO_LABELS = "none"
"""Value of `labels`: the base's detections are the labels."""

AGREEMENT_MARGIN = 0.05
"""`margin` without labels: agreement falls about five times as fast as AP (experiments/target/notes.md)."""

RUNS = (2, 3, 5)
"""Values of `runs` for the rule noninferior: how many runs it knows how to judge."""

_TARGET = re.compile(rf"({'|'.join(LESS)})\s*=\s*(-?)(\d+(?:\.\d+)?)\s*%")


def moves_of(words: str | Sequence[str]) -> tuple[str, ...]:
    """The moves of a setting: names and families, in a list or with commas between them.

    Raises:
        EffscopeError: an unknown word, or none.
    """
    named = _listed("moves", words)
    if not named:
        raise EffscopeError(f"`moves` names no move: choose from {', '.join((*MOVE_NAMES, *FAMILIES))}")
    for word in named:
        if word not in (*MOVE_NAMES, *FAMILIES):
            raise unknown("`moves`", word, (*MOVE_NAMES, *FAMILIES))
    return tuple(dict.fromkeys(move for word in named for move in FAMILIES.get(word, (word,))))


def targets_of(words: str | Sequence[str]) -> dict[str, float]:
    """Name of a cost -> the fraction to save, of texts like "params=-30%" in a list or with commas between them.

    Raises:
        EffscopeError: another text, no minus, a percentage that is not between 0 and 100, or two for one cost.
    """
    found: dict[str, float] = {}
    for word in _listed("target", words):
        match = _TARGET.fullmatch(word)
        share = float(match.group(3)) / 100 if match else 0.0
        if match is None or not 0 < share < 1:
            raise EffscopeError(f"`target` must be like params=-30%, flops=-30% or latency=-20%, got {word!r}")
        if not match.group(2):
            meant = f"{match.group(1)}=-{match.group(3)}%"
            raise EffscopeError(f"`target` says what to save with a minus: write {meant}, got {word!r}")
        if match.group(1) in found:
            raise EffscopeError(f"`target` names {match.group(1)} twice")
        found[match.group(1)] = share
    return found


def _listed(name: str, words: str | Sequence[str]) -> list[str]:
    """The words of a setting: in a list, or with commas between them."""
    if not isinstance(words, (str, list, tuple)):
        raise EffscopeError(f"`{name}` must be text or a list of texts, got {words!r}")
    listed = words.split(",") if isinstance(words, str) else words
    return [text for word in listed if (text := str(word).strip())]


def _moves(name: str, value: Any) -> None:
    if not isinstance(value, tuple) or value != moves_of(value):
        raise EffscopeError(f"`{name}` must be names of moves without families, got {value!r}")


def _targets(name: str, value: Any) -> None:
    targets_of(value)


@dataclass(frozen=True)
class SearchConfig(Checked):
    """`effscope search`. Training fields are as in `TrainConfig`.

    With a `target`, or with `library_only`, every change is fitted and scored alone, and the user's model keeps its
    head until a chosen change needs another. Without, stages change one after the other in the `order`.

    The base trains for `base_epochs`, or half of them if it starts from weights of other classes; each candidate for
    `epochs`. If the AP of the base is below `learned_ap`, the search ends without a candidate.
    """

    base: str = "yolov8n"
    weights: str | None = None
    data: str = BUILTIN_SHAPES
    moves: tuple[str, ...] = ("cib",)
    order: str = "rank"
    target: tuple[str, ...] = ()
    library_only: bool = False
    latency_table: str | None = None
    against: str | None = None
    finish_epochs: int = 0
    labels: str = "given"
    head: str = "light"
    rule: str = "noninferior"
    margin: float = 0.01
    runs: int = 5
    budget: str | None = None
    runtime: str | None = None
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
    proxy_recipe: Recipe | None = None
    keep_work: bool = False

    CHECKS: ClassVar = {
        "moves": _moves, "order": one_of("rank", "separability", "damage", "damage-per-saving"), "target": _targets,
        "labels": one_of("given", NO_LABELS),
        "head": one_of("light", "keep"), "margin": fraction, "runs": at_least(2),
        "budget": duration_text,
        "rule": one_of("noninferior", "margin", "paper"), "runtime": one_of("onnx", "torch"),
        "at": one_of("stage", "block", "all"), "imgsz": image_side,
        "base_epochs": at_least(1), "epochs": at_least(1), "finish_epochs": at_least(0),
        "batch": at_least(1), "seed": seed_number,
        "limit_train": at_least(1), "limit_val": at_least(1), "learned_ap": fraction,
    }  # fmt: skip

    ABOUT: ClassVar = {
        **ABOUT_SHARED,
        "weights": "weights file to start from, matched by name and shape; default: those of `base`",
        "moves": f"parts to try, as a list or with commas: {', '.join((*MOVE_NAMES, *FAMILIES))}; default: cib, with "
        "`target` or `library_only` all",
        "order": "which stages come first: rank, separability, damage or damage-per-saving",
        "target": "what to save, as a list or with commas: params=-30%, flops=-30% or latency=-20%; default: nothing "
        "named",
        "library_only": "fit, score and time every change alone, and choose no model",
        "latency_table": "csv file with times of your device in ms (stage, move, ms); default: measured here",
        "against": "another trained model of the same classes, measured beside the chosen one; default: none",
        "finish_epochs": "epochs of the chosen model at the end, taught by your model if it knows the classes, else by "
        "the base; 0: none",
        "labels": "given; or none: the detections of your model are the labels, AP is agreement with it",
        "head": "light: the base gets the light class head first; or keep; default: light for the move cib without "
        "`target`",
        "rule": "when a change is kept: noninferior (95 % sure to lose less than `margin`), margin or paper",
        "margin": f"allowed loss of AP, a fraction; default: 0.01, with `labels` none {AGREEMENT_MARGIN}",
        "runs": "most short trainings of the base and of each candidate: 2, 3 or 5",
        "budget": "longest duration, like 2h or 90m; default: no limit",
        "runtime": "what measures latency: onnx or torch; default: onnx on a CPU, torch on a GPU",
        "at": "what is ranked, as in `rank`: stage, block or all",
        "threshold": "which singular values count, as in `rank`",
        "base_epochs": f"epochs of the base, half of them from weights of other classes; {by_data('base_epochs')}",
        "epochs": f"epochs of a short training; {by_data('epochs')}",
        "learned_ap": "least AP of the base, a fraction: below it the search ends without a candidate",
        "distil": "how a changed part is fitted, a `config.DistilConfig`; default: its own defaults",
        "proxy_recipe": "recipe of the short trainings; default: gentle,distil_gain=1 if the weights know the classes, "
        "else quick",
        "keep_work": "keep the folder work/ at the end: weights and detections of every job",
    }
    FREE: ClassVar = ("keep_work",)

    @property
    def policy(self) -> str:
        """What decides: "library" if only that is asked for, "target" with a target, else "greedy"."""
        return "library" if self.library_only else "target" if self.target else "greedy"


class SearchSettings(SharedSettings, total=False):
    """Arguments of `effscope.search` except the base; see `SearchConfig`. None means not given."""

    weights: str | None
    moves: str | Sequence[str] | None
    order: str
    target: str | Sequence[str] | None
    library_only: bool
    latency_table: str | None
    against: str | None
    finish_epochs: int
    labels: str
    head: str | None
    rule: str
    margin: float | None
    runs: int
    budget: str | None
    runtime: str | None
    at: str
    threshold: float | str
    base_epochs: int | None
    learned_ap: float
    distil: DistilConfig | None
    proxy_recipe: str | Recipe | Mapping[str, Any] | None
    keep_work: bool


def search_config(settings: Mapping[str, Any]) -> SearchConfig:
    """The config of a search from the user's settings; None means not given. `PROXIES` has the default sizes.

    Raises:
        EffscopeError: an unknown setting, or an invalid value.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    saved, library = targets_of(given.get("target", ())), bool(given.get("library_only"))
    _check_runs(given)
    _check_together(given, saved, library)
    asks_more = bool(saved) or library
    moves = moves_of(given.get("moves", DEFAULT_MOVES["target" if asks_more else "greedy"]))
    given |= {"moves": moves, "target": tuple(f"{cost}=-{100 * share:g}%" for cost, share in saved.items())}
    if given.get("labels") == NO_LABELS:
        given.setdefault("margin", AGREEMENT_MARGIN)
    given.setdefault("head", "light" if set(COMPACT) & set(moves) and not asks_more else "keep")
    return sized(SearchConfig, vars(proxy(given.get("data") or BUILTIN_SHAPES)), given)


def _check_runs(given: Mapping[str, Any]) -> None:
    """Refuse a number of runs that the rule noninferior cannot judge. The other rules take one run."""
    runs = given.get("runs", RUNS[-1])
    if given.get("rule", SearchConfig.rule) == SearchConfig.rule and runs not in RUNS:
        raise EffscopeError(f"`runs` must be 2, 3 or 5 with the rule {SearchConfig.rule}, got {runs!r}")


def _check_together(given: Mapping[str, Any], saved: Mapping[str, float], library: bool) -> None:
    """Refuse settings that would change nothing together."""
    if library and saved:
        raise EffscopeError("`library_only` makes no candidate: leave out `target`, or `library_only`")
    for name in ("finish_epochs", "against"):
        if library and given.get(name):
            raise EffscopeError(f"`library_only` chooses no model: leave out `{name}`, or `library_only`")
    if (library or saved) and given.get("head") == "light":
        raise EffscopeError("with `target` or `library_only` the light head is a move: name light-head in `moves`")
    if given.get("latency_table") and not (library or saved):
        raise EffscopeError("`latency_table` is used with `target` or `library_only`: give one of them")


DEFAULT_MOVES = {"greedy": "cib", "target": "all"}
"""What a search makes, the whole library from the user's model as it is, or not -> its `moves` by default."""
