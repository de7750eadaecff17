"""Tensors by the names of the model itself: without counters of other tools, second copies, and names of wrappers."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from effscope.checkpoint.averaged import MAX_COPIES, flat_copy

COUNTERS = frozenset({"total_ops", "total_params", "n_averaged", "num_updates"})
"""Last names of tensors that tools leave in a state dict: thop's counts, the step counters of averaged weights."""

AVERAGED = ("ema_model.", "model_ema.", "module_ema.", "averaged_model.", "ema.")
"""Prefixes of all weights in a state dict that has the averaged copy only."""

OWNERS = ("model.", "module.", "net.", "network.")
"""Prefixes of the plain copy that belong to the names of the model, or that `WRAPPERS` removes."""

MARKS = ("initted", "step")
"""Numbers of ema_pytorch beside its two copies."""

WRAPPERS = ("module.", "_orig_mod.", "network.")
"""Prefixes of keys by DataParallel, torch.compile and common training code."""

INNER = ("module", "_orig_mod")
"""Names of wrappers inside a path: the only child of the module that is wrapped."""


def tidy(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors by their names in the model, and a note for the user on what was taken, renamed and left out."""
    notes = []
    counters = {key for key in tensors if key.rpartition(".")[2] in COUNTERS and tensors[key].numel() == 1}
    if counters and len(counters) < len(tensors):
        names = sorted({key.rpartition(".")[2] for key in counters})
        notes.append(f", {len(counters)} counters left out ({', '.join(names)})")
        tensors = {key: value for key, value in tensors.items() if key not in counters}
    tensors, note = _averaged(tensors)
    notes.append(note)
    tensors, note = _unwrapped(tensors)
    return tensors, "".join([*notes, note])


def _averaged(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """If the weights are there twice, one copy: the averaged one. The same for each network in it."""
    taken, owners = [], []
    for _ in range(MAX_COPIES):
        copy = flat_copy({key: tuple(tensor.shape) for key, tensor in tensors.items()})
        if copy is None:
            break
        prefix, owner, pairs = copy
        kept = {key: value for key, value in tensors.items() if not key.startswith(prefix)}
        tensors = kept | {key: tensors[other] for key, other in pairs.items()}
        taken.append(f"'{prefix}'")
        owners.append(owner)
    flat = {key: f"ema_{key.replace('.', '_')}" for key in tensors}  # as mmcv's EMA hook names its copies
    copies = {key: tensors[name] for key, name in flat.items() if name in tensors}
    if copies and all(copy.shape == tensors[key].shape for key, copy in copies.items()):
        second = {flat[key] for key in copies}
        tensors = {key: value for key, value in tensors.items() if key not in second} | copies
        taken.append("'ema_'")
    note = f", averaged weights ({', '.join(taken)}) taken, the others not" if taken else ""
    tensors, own = _without_marks(tensors, {*owners, *AVERAGED}.difference(("", *OWNERS)))
    return tensors, note + own


def _without_marks(tensors: dict[str, Tensor], prefixes: Collection[str]) -> tuple[dict[str, Tensor], str]:
    """The tensors without a prefix that all share, and without the numbers beside them."""
    weights = {key: value for key, value in tensors.items() if not (key in MARKS and value.numel() == 1)}
    prefix = next((text for text in sorted(prefixes) if weights and all(key.startswith(text) for key in weights)), "")
    if not prefix:
        return tensors, ""
    n = len(tensors) - len(weights)
    counters = f", {n} counters left out ({', '.join(sorted(tensors.keys() - weights.keys()))})" if n else ""
    bare = {key.removeprefix(prefix): value for key, value in weights.items()}
    return bare, f"{counters}, prefix '{prefix}' removed from its keys"


def _unwrapped(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors without the prefixes that all keys share, and without wrappers inside their paths."""
    removed = ""
    while tensors:
        prefix = next((text for text in WRAPPERS if all(key.startswith(text) for key in tensors)), "")
        if not prefix and all(key.startswith("model.model.") for key in tensors):
            prefix = "model."
        if not prefix:
            break
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
        removed += prefix
    note = f", prefix '{removed}' removed from its keys" if removed else ""
    for name in INNER:
        tensors, n = _without_inner(tensors, name)
        note += f", '{name}' removed inside {n} keys" if n else ""
    return tensors, note


def _without_inner(tensors: dict[str, Tensor], name: str) -> tuple[dict[str, Tensor], int]:
    """The tensors without a wrapper's name in their paths, where it is its parent's only child; and how many had it."""
    children: dict[str, set[str]] = {}
    for key in tensors:
        names = key.split(".")
        for end in range(len(names)):
            children.setdefault(".".join(names[:end]), set()).add(names[end])
    renamed = {}
    for key, value in tensors.items():
        names = key.split(".")
        kept = [
            part for end, part in enumerate(names) if not (part == name and children[".".join(names[:end])] == {name})
        ]
        renamed[".".join(kept)] = value
    changed = sum(a != b for a, b in zip(tensors, renamed, strict=False))
    return (renamed, changed) if len(renamed) == len(tensors) else (tensors, 0)
