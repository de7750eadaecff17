"""The dictionaries of tensors in a checkpoint, wherever they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from effscope.checkpoint.arrays import ArrayRecord, array_record
from effscope.checkpoint.pickled.module_tree import is_module
from effscope.checkpoint.pickled.records import Budget, Record, TensorRecord

Weights = TensorRecord | ArrayRecord | Tensor
Keys = tuple[str, ...]
Shapes = dict[str, tuple[int, ...]]

MAX_PATH_PARTS = 4
MAX_VALUES = 1_000_000

OPTIMIZER = frozenset(
    """optimizer optimizers optim optims opt opts sched scheduler schedulers scaler grad gradients""".split()  # noqa: SIM905
)
"""Words of a path to the state of an optimizer."""

OPTIMIZER_TENSORS = frozenset(
    """param_groups exp_avg exp_avg_sq exp_avgs exp_avg_sqs max_exp_avg_sq momentum_buffer square_avg acc_delta
    exp_inf master_params fp32_flat_groups""".split()  # noqa: SIM905
)
"""Keys of a dictionary that is the state of an optimizer."""

NO_NETWORK = frozenset(
    """loss losses criterion metric metrics callbacks loops rng random sampler data dataset batch history logs
    stats hyper config cfg args""".split()  # noqa: SIM905
)
"""Words of a path to other tensors: of losses, counts, random generators."""

COLLECTED = "collected"
"""Word of the plain weights that a tool keeps beside its averaged ones (torch_ema, diffusers)."""


def words(text: str) -> frozenset[str]:
    """The words of a name: "netG_ema" -> net, g, ema."""
    return frozenset(word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", text))


@dataclass(frozen=True, eq=False)
class Entry:
    """A dictionary of tensors.

    Attributes:
        path: The keys that lead to it.
        tensors: Its tensors, by name.
        n_others: The number of its entries that are no tensors.
    """

    path: Keys
    tensors: dict[str, Weights]
    n_others: int = 0

    @property
    def name(self) -> str:
        """Its path as text."""
        return ".".join(self.path)

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of its path."""
        return words(" ".join(self.path))

    @cached_property
    def shapes(self) -> Shapes:
        """The shapes of its tensors."""
        return {key: shape_of(tensor) for key, tensor in self.tensors.items()}

    @property
    def is_mostly_tensors(self) -> bool:
        """Whether it has more tensors than other entries."""
        return len(self.tensors) > self.n_others

    @property
    def has_weights(self) -> bool:
        """Whether it may be a state dict: it has a tensor of two dimensions, or one with the name of a weight."""
        return any(len(shape) > 1 or key.rpartition(".")[2] in ("weight", "bias") for key, shape in self.shapes.items())


def shape_of(tensor: Weights) -> tuple[int, ...]:
    """The shape of a tensor of the file."""
    return tuple(tensor.shape) if isinstance(tensor, Tensor) else tensor.size


def entry_at(root: object, path: Keys) -> Entry:
    """The dictionary at a path; it has no tensors if there is none."""
    value = root
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return _entry(path, value)


def _entry(path: Keys, value: object) -> Entry:
    if not isinstance(value, dict):
        return Entry(path, {})
    found = {name: weights for name, part in value.items() if isinstance(name, str) and (weights := _weights(part))}
    return Entry(path, found, len(value) - len(found))


def _weights(value: object) -> Weights | None:
    return value if isinstance(value, TensorRecord) else array_record(value)


def entries(root: object) -> list[Entry]:
    """All dictionaries that may be state dicts, at most four keys deep, in the order of the file. No optimizer state.

    Raises:
        EffscopeError: The file refers to the same values many times.
    """
    found = (_entry(path, value) for path, value in _walk(root) if not _is_optimizer(path, value))
    return [entry for entry in found if entry.has_weights and (entry.path or entry.is_mostly_tensors)]


def nameless(root: object) -> list[Entry]:
    """All lists of tensors, as the averaged weights of torch_ema and diffusers. Their tensors have numbers for names.

    Raises:
        EffscopeError: The file refers to the same values many times.
    """
    found = []
    for path, value in _walk(root):
        if isinstance(value, list | tuple) and value and OPTIMIZER_TENSORS.isdisjoint(path):
            tensors = [_weights(part) for part in value]
            if all(tensor is not None for tensor in tensors):
                found.append(Entry(path, {str(n): tensor for n, tensor in enumerate(tensors) if tensor is not None}))
    return [entry for entry in found if COLLECTED not in entry.words]


def pickled_modules(root: object) -> list[tuple[Keys, Record]]:
    """All pickled modules that are no losses, with their paths; one that is there twice occurs once.

    Raises:
        EffscopeError: The file refers to the same values many times.
    """
    found: dict[int, tuple[Keys, Record]] = {}
    for path, value in _walk(root):
        for key, part in _parts(value):
            if is_module(part) and NO_NETWORK.isdisjoint(words(" ".join((*path, key)))):
                found.setdefault(id(part), ((*path, key), part))
    return list(found.values())


def _is_optimizer(path: Keys, value: object) -> bool:
    held = value.keys() if isinstance(value, dict) else ()
    return any(map(_names_optimizer, path)) or not OPTIMIZER_TENSORS.isdisjoint((*path, *held))


def _names_optimizer(key: str) -> bool:
    """Whether a key names an optimizer and nothing else: `g_optim`, `optimizer_states`, but not `opt_head`."""
    found = words(key)
    return bool(found & OPTIMIZER) and all(len(word) == 1 for word in found - OPTIMIZER - {"state", "states", "dict"})


def _walk(root: object) -> Iterator[tuple[Keys, object]]:
    """Each dictionary and list with its path; one that is there twice occurs once."""
    budget = Budget(MAX_VALUES)
    seen: set[int] = set()
    pending: list[tuple[Keys, object]] = [((), root)]
    while pending:
        path, value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield path, value
        parts = _parts(value)
        budget.charge(1 + len(parts))
        if len(path) < MAX_PATH_PARTS:
            pending.extend(
                ((*path, key), part) for key, part in reversed(parts) if isinstance(part, dict | list | tuple)
            )


def _parts(value: object) -> list[tuple[str, object]]:
    if isinstance(value, dict):
        return [(key, part) for key, part in value.items() if isinstance(key, str)]
    if isinstance(value, list | tuple):
        return [(str(n), part) for n, part in enumerate(value)]
    return []
