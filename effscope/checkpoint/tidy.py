"""Tensors by the names of the model itself: without counters of other tools, second copies, and names of wrappers."""

from __future__ import annotations

from torch import Tensor

COUNTERS = frozenset({"total_ops", "total_params", "n_averaged", "num_updates"})
"""Last names of tensors that tools leave in a state dict: thop's counts, the step counters of averaged weights."""

AVERAGED = ("ema_model.", "model_ema.", "module_ema.", "averaged_model.", "ema.")
"""Prefixes of the averaged copy of all weights in a state dict that has them twice."""

OWNERS = ("", "model.", "module.", "net.", "network.")
"""Prefixes of the other copy."""

WRAPPERS = ("module.", "_orig_mod.", "network.")
"""Prefixes of keys by DataParallel, torch.compile and common training code."""

INNER = ("module", "_orig_mod")
"""Names of wrappers inside a path: the only child of the module that is wrapped."""


def tidy(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors by their names in the model, and a note for the user on what was taken, renamed and left out."""
    notes = []
    counters = [key for key in tensors if key.rpartition(".")[2] in COUNTERS and tensors[key].numel() == 1]
    if counters and len(counters) < len(tensors):
        names = sorted({key.rpartition(".")[2] for key in counters})
        notes.append(f", {len(counters)} counters left out ({', '.join(names)})")
        tensors = {key: value for key, value in tensors.items() if key not in set(counters)}
    tensors, note = _averaged(tensors)
    notes.append(note)
    tensors, note = _unwrapped(tensors)
    return tensors, "".join([*notes, note])


def _averaged(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """If the weights are there twice, one copy: the averaged one."""
    for prefix in AVERAGED:
        names = [key.removeprefix(prefix) for key in tensors if key.startswith(prefix)]
        bare = [name.removeprefix("module.") for name in names]
        for owner in OWNERS:
            copies = {f"{owner}{name}": tensors[f"{prefix}{full}"] for name, full in zip(bare, names, strict=True)}
            kept = {key: value for key, value in tensors.items() if not key.startswith(prefix)}
            if 2 * len(copies) > len(kept) and _same_shapes(copies, kept):
                return kept | copies, f", averaged weights ('{prefix}') taken, the others not"
    flat = {key: f"ema_{key.replace('.', '_')}" for key in tensors}  # as mmcv's EMA hook names its copies
    copies = {key: tensors[name] for key, name in flat.items() if name in tensors}
    if copies and _same_shapes(copies, tensors):
        second = {flat[key] for key in copies}
        kept = {key: value for key, value in tensors.items() if key not in second}
        return kept | copies, ", averaged weights ('ema_') taken, the others not"
    return tensors, ""


def _same_shapes(copies: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return all(key in others and copy.shape == others[key].shape for key, copy in copies.items())


def _unwrapped(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors without the prefixes that all keys share, and without wrappers inside their paths."""
    removed = ""
    while True:
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
