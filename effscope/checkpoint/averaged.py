"""Averaged weights: the words that name them, and which copy has the tensors of which."""

from __future__ import annotations

from itertools import islice, product

from effscope.checkpoint.entries import Entry, Shapes, words

AVERAGED_ONLY = frozenset({"ema", "averaged", "swa", "polyak"})
"""Words that name nothing but averaged weights."""

AVERAGING = AVERAGED_ONLY | {"average", "avg", "shadow"}
"""Words in the names of averaged weights. Those that are no `AVERAGED_ONLY` also name parts of models (avg_fc)."""

TEACHER = "teacher"
"""Name of an averaged copy beside its student (DINO, mean teacher)."""

COUNTERS = frozenset({"n_averaged", "num_updates", "updates", "decay", "initted", "step", "steps"})
"""Names of numbers that tools keep beside averaged weights."""

MAX_COPIES = 16
"""The most averaged copies that are compared with the others of a file."""

MAX_OWNERS = 256
"""The most parts of a state dict that are compared with an averaged copy."""

WRAPPERS = ("module.", "_orig_mod.", "model.", "network.", "net.")
"""Prefixes that one copy can have and the other not."""


def is_averaged(entry: Entry) -> bool:
    """Whether a word of its path says that it has averaged weights."""
    return bool(entry.words & AVERAGING) or TEACHER in entry.words


def are_related(averaged: frozenset[str], plain: frozenset[str]) -> bool:
    """Whether the names of two copies, as words, differ only in what tells them apart: g_ema and g."""
    return averaged - AVERAGING - {TEACHER} == plain - {"online", "student"}


def may_be_copy(averaged: Entry, plain: Entry) -> bool:
    """Whether the names allow that one is the average of the other."""
    is_sure = bool(averaged.words & AVERAGED_ONLY) or TEACHER in averaged.words
    return is_sure or are_related(averaged.words, plain.words)


def pairs(averaged: Shapes, plain: Shapes) -> dict[str, str]:
    """Which tensor of a copy stands for which of the other: key of the plain one -> key of the averaged one.

    The names may have wrappers in one of them, and no dots in the averaged one. Empty unless each tensor of the
    averaged copy, counters aside, has its own one of the same shape.

    Args:
        averaged: shapes of the copy. It may have less, e.g. no buffers.
        plain: shapes of the other copy.
    """
    copied = {key: shape for key, shape in averaged.items() if not is_counter(key, shape)}
    for names, (others, joint) in product(
        (list(copied), _bare(copied)),
        ((others, joint) for joint in (".", "", "_") for others in (list(plain), _bare(plain))),
    ):
        own = {name.replace(".", joint): key for name, key in zip(others, plain, strict=True)}
        if len(own) < len(plain):
            continue
        found = {own[name]: key for name, key in zip(names, copied, strict=True) if name in own}
        if len(found) == len(copied) and all(plain[one] == copied[other] for one, other in found.items()):
            return found
    return {}


def is_counter(key: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is a number that a tool keeps beside averaged weights."""
    return key.rpartition(".")[2] in COUNTERS and all(side == 1 for side in shape)


def _bare(names: Shapes) -> list[str]:
    """The names without the wrappers that all of them have."""
    found = list(names)
    while found and (wrapper := next((w for w in WRAPPERS if all(name.startswith(w) for name in found)), "")):
        found = [name.removeprefix(wrapper) for name in found]
    return found


def flat_copy(shapes: Shapes) -> tuple[str, str, dict[str, str]] | None:
    """The averaged copy inside one flat state dict: its prefix, the other's prefix, and which key stands for which.

    `teacher` is no word for it here: two networks of the same form, one of which teaches the other, are common parts of
    one model.

    Args:
        shapes: by state-dict key.
    """
    for prefix, parent in _prefixes(shapes):
        copied = {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}
        copied = {key: shape for key, shape in copied.items() if not is_counter(key, shape)}
        kept = {key: shape for key, shape in shapes.items() if not key.startswith(prefix)}
        for owner, own in islice(_owners(kept, parent).items(), MAX_OWNERS):
            if len(copied) > len(own):
                continue
            named = owner != parent and are_related(words(prefix), words(owner))
            found = pairs(copied, own)
            is_sure = bool(words(prefix) & AVERAGED_ONLY)
            if found and (named or is_sure) and 2 * len(found) > len(own if named else kept):
                return prefix, owner, {f"{owner}{key}": f"{prefix}{name}" for key, name in found.items()}
    return None


def _owners(kept: Shapes, parent: str) -> dict[str, Shapes]:
    """What may be the other copy, by prefix: all that is in the parent, or one of its parts."""
    found: dict[str, Shapes] = {parent: {}}
    for key, shape in kept.items():
        if key.startswith(parent):
            rest = key.removeprefix(parent)
            found[parent][rest] = shape
            head, dot, name = rest.partition(".")
            if dot:
                found.setdefault(f"{parent}{head}.", {})[name] = shape
    return found


def _prefixes(shapes: Shapes) -> list[tuple[str, str]]:
    """The prefixes of keys whose first or second name says that it is averaged; each with that of its parent."""
    found: dict[str, str] = {}
    for key in shapes:
        first, *rest = key.split(".")[:-1] if "." in key else ("",)
        if words(first) & AVERAGING:
            found[f"{first}."] = ""
        elif rest and words(rest[0]) & AVERAGING:
            found[f"{first}.{rest[0]}."] = f"{first}."
    return list(found.items())[:MAX_COPIES]
