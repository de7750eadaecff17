"""The weights of a checkpoint: one state dict, or several networks as one; averaged copies in place of the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from effscope.checkpoint.averaged import MAX_COPIES, are_related, is_averaged, may_be_copy, pairs
from effscope.checkpoint.entries import NO_NETWORK, Entry, Keys, Weights, entries, entry_at, nameless
from effscope.checkpoint.pickled.policy import shown
from effscope.errors import EffscopeError

AVERAGED: tuple[Keys, ...] = (
    ("ema",), ("ema", "module"), ("ema", "model"), ("ema", "state_dict"), ("ema", "shadow"), ("ema_model",),
    ("model_ema",), ("state_dict_ema",), ("ema_state_dict",), ("model_ema_state_dict",), ("params_ema",),
)  # fmt: skip
"""Keys that lead to averaged weights in a checkpoint: Ultralytics, RT-DETR, timm, BasicSR and others."""

PLAIN: tuple[Keys, ...] = (
    ("state_dict",), ("model_state_dict",), ("model",), ("model", "state_dict"), ("module",), ("net",), ("params",),
    ("weights",),
)  # fmt: skip
"""Keys that lead to the other weights."""

SNAPSHOTS = ("best", "final", "last", "latest", "current", "previous", "initial")
"""Words of the names of one network at several times; the first one that a file has is read."""

MAX_LISTED = 8
MAX_NETWORKS = 32


@dataclass(frozen=True)
class Swap:
    """A tool that saves the average under `state_dict`.

    Attributes:
        tool: Its name for the user.
        marks: Keys that only its files have.
        raw: The key of the weights without averaging.
    """

    tool: str
    marks: tuple[Keys, ...]
    raw: str


SWAPS = (
    Swap("mmengine", (("message_hub",), ("meta", "mmengine_version")), "ema_state_dict"),
    Swap("Lightning", (("averaging_state",),), "current_model_state"),
)
"""Sources: `mmengine/hooks/ema_hook.py` (`before_save_checkpoint`), Lightning's `WeightAveraging`."""


@dataclass(frozen=True)
class Network:
    """One network of a file.

    Attributes:
        own: Its state dict.
        averaged: The averaged copy, or None.
        found: Key -> key in the averaged copy.
    """

    own: Entry
    averaged: Entry | None = None
    found: dict[str, str] = field(default_factory=dict)

    @property
    def tensors(self) -> dict[str, Weights]:
        """Its tensors, averaged where the file has the average."""
        if self.averaged is None:
            return self.own.tensors
        copies = {key: self.averaged.tensors[other] for key, other in self.found.items()}
        return self.own.tensors | copies


@dataclass(frozen=True)
class State:
    """What to read of a checkpoint.

    Attributes:
        tensors: By name; with several networks, the name begins with that of the network.
        n_others: The number of entries beside them that are no tensors.
        where: For the user: where they are, and what was not read. It follows "state dict".
    """

    tensors: dict[str, Weights]
    n_others: int
    where: str


def find_state(root: object) -> State | None:
    """The weights in a checkpoint; None if there are none.

    Raises:
        EffscopeError: The file refers to the same values many times, or two tensors have the same name.
    """
    everything = entries(root)
    state = entry_at(root, ("state_dict",))
    for swap in SWAPS:
        raw = entry_at(root, (swap.raw,))
        if state.tensors and raw.tensors and any(_has(root, mark) for mark in swap.marks):
            where = f" under 'state_dict' (averaged by {swap.tool}; not the other weights under '{swap.raw}')"
            return State(state.tensors, state.n_others, f"{where}{_unread(root, everything, [state, raw])}")
    known = _known(root, everything)
    if known is None or _is_one_of_many(known, everything):
        return _state_of(root, everything, *paired([entry for entry in everything if _is_network(entry)]))
    if known.path in AVERAGED:
        plain = next((entry for path in PLAIN if (entry := entry_at(root, path)).tensors), None)
        fits = (entry for entry in everything if entry.path != known.path and pairs(known.shapes, entry.shapes))
        return _state_of(root, everything, [Network(known)], [other] if (other := plain or next(fits, None)) else [])
    return _state_of(root, everything, [with_average(known, everything)], [])


def with_average(own: Entry, everything: Iterable[Entry]) -> Network:
    """The network with the first averaged copy that has its tensors."""
    averaged = [entry for entry in everything if entry.path != own.path and is_averaged(entry)]
    for entry in [entry for entry in averaged if may_be_copy(entry, own)][:MAX_COPIES]:
        if found := pairs(entry.shapes, own.shapes):
            return Network(own, entry, found)
    return Network(own)


def _has(root: object, path: Keys) -> bool:
    for key in path:
        if not isinstance(root, dict) or key not in root:
            return False
        root = root[key]
    return True


def _known(root: object, everything: Sequence[Entry]) -> Entry | None:
    """The state dict under a known key, or the whole file if it is one."""
    found = [entry for path in (*AVERAGED, *PLAIN) if (entry := entry_at(root, path)).tensors]
    largest = max((len(entry.tensors) for entry in found if entry.path in PLAIN), default=0)
    found = [entry for entry in found if entry.path in PLAIN or len(entry.tensors) >= largest]
    mostly = [entry for entry in found if entry.is_mostly_tensors]
    alone = [entry for entry in found if not any(_is_inside(other.path, entry.path) for other in everything)]
    whole = entry_at(root, ())
    return next(iter(mostly or alone), whole if whole.is_mostly_tensors else None)


def _is_inside(path: Keys, outer: Keys) -> bool:
    return len(path) > len(outer) and path[: len(outer)] == outer


def _is_one_of_many(known: Entry, everything: Sequence[Entry]) -> bool:
    """Whether it is the average of one network in a file of several, none of which is under a known key."""
    if known.path not in AVERAGED or any(entry.path in PLAIN for entry in everything):
        return False
    plain = [entry for entry in everything if _is_network(entry) and not is_averaged(entry)]
    return len(plain) > 1 and any(pairs(known.shapes, entry.shapes) for entry in plain)


def _is_network(entry: Entry) -> bool:
    return bool(entry.path) and NO_NETWORK.isdisjoint(entry.words)


def paired(candidates: Sequence[Entry]) -> tuple[list[Network], list[Entry]]:
    """The networks, each with its averaged copy; and the other copies of them, which are not read.

    Args:
        candidates: plain and averaged state dicts, in the order of the file.

    Raises:
        EffscopeError: There are more than 32.
    """
    if len(candidates) > MAX_NETWORKS:
        raise EffscopeError(f"it holds {len(candidates)} state dicts, more than {MAX_NETWORKS}: give one model")
    plain, older = _newest([entry for entry in candidates if not is_averaged(entry)])
    averaged: dict[Keys, Network] = {}
    spare: list[Entry] = []
    for entry in candidates:
        if not is_averaged(entry):
            continue
        named = [own for own in plain if may_be_copy(entry, own)]
        fits = [Network(own, entry, found) for own in named if (found := pairs(entry.shapes, own.shapes))]
        related = [network for network in fits if are_related(entry.words, network.own.words)]
        if not fits:
            averaged[entry.path] = Network(entry)
        elif len(one := related or fits) == 1 and one[0].own.path not in averaged:
            averaged[one[0].own.path] = one[0]
        else:
            spare.append(entry)
    kept = {entry.path for entry in plain} | averaged.keys()
    networks = [averaged.get(entry.path, Network(entry)) for entry in candidates if entry.path in kept]
    return networks, [*older, *spare]


def _newest(plain: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """The networks, and those that are others of them at another time (`model_last` beside `model_best`)."""
    kept: list[Entry] = []
    older: list[Entry] = []
    for entry in sorted(plain, key=_age):
        timed = [other for other in kept if _age(other) < len(SNAPSHOTS) and other.shapes == entry.shapes]
        (older if any(_timeless(other) == _timeless(entry) for other in timed) else kept).append(entry)
    return [entry for entry in plain if entry in kept], older


def _timeless(entry: Entry) -> frozenset[str]:
    return entry.words.difference(SNAPSHOTS)


def _age(entry: Entry) -> int:
    return next((n for n, word in enumerate(SNAPSHOTS) if word in entry.words), len(SNAPSHOTS))


def _state_of(root: object, everything: Sequence[Entry], networks: list[Network], copies: list[Entry]) -> State | None:
    """The networks as one state.

    Args:
        root, everything: the file, and all its state dicts.
        networks: to read.
        copies: other copies of the same weights.
    """
    if not networks:
        return None
    prefixes = network_names([network.own.path for network in networks])
    tensors = {
        f"{prefix}{key}": weights
        for prefix, network in zip(prefixes, networks, strict=True)
        for key, weights in network.tensors.items()
    }
    if len(tensors) != sum(len(network.tensors) for network in networks):
        raise EffscopeError("two tensors of its networks have the same name: give the weights of one network")
    where = _one(networks[0], copies) if len(networks) == 1 else said_networks(networks, prefixes)
    used = [*(network.own for network in networks), *(n.averaged for n in networks if n.averaged)]
    n_others = sum(network.own.n_others for network in networks)
    return State(tensors, n_others, where + _unread(root, everything, used + (copies if len(networks) == 1 else [])))


def network_names(paths: Sequence[Keys]) -> list[str]:
    """The prefixes of the keys of networks: their paths without the keys that all share; of one network "".

    Args:
        paths: where they are in the file.
    """
    n = 0
    while len(paths) > 1 and all(len(path) > n + 1 and path[n] == paths[0][n] for path in paths):
        n += 1
    return [f"{'.'.join(path[n:])}." if len(paths) > 1 else "" for path in paths]


def said_networks(networks: Sequence[Network], prefixes: Sequence[str]) -> str:
    """The networks for the user. It follows "state dict"."""
    texts = []
    for network, prefix in zip(networks, prefixes, strict=True):
        average = f" (averaged, under {shown(network.averaged.name)})" if network.averaged else ""
        texts.append(f"{shown(prefix[:-1])[1:-1]}{average}")
    return f" of {len(networks)} networks: {_listed(texts)}"


def _one(network: Network, copies: Sequence[Entry]) -> str:
    """Where one network is; it follows "state dict"."""
    own, averaged = network.own, network.averaged
    others = "".join(f" (not that under {shown(entry.name)})" for entry in copies)
    if averaged is None:
        return (f" under {shown(own.name)}" if own.path else "") + others
    if len(network.found) == len(own.tensors):
        plain = f"that under {shown(own.name)}" if own.path else "those at its top"
        return f" under {shown(averaged.name)} (not {plain}){others}"
    n, of = len(network.found), len(own.tensors)
    under = f" under {shown(own.name)}" if own.path else ""
    return f"{under}, {n} of its {of} tensors averaged, from {shown(averaged.name)}{others}"


def _unread(root: object, everything: Sequence[Entry], used: Sequence[Entry]) -> str:
    """What the file has besides; it follows the text of what was read."""
    paths = {entry.path for entry in used}
    names = [shown(entry.name) if entry.path else "those at its top" for entry in everything if entry.path not in paths]
    return (f", not read: {_listed(names)}" if names else "") + said_nameless(root)


def said_nameless(root: object) -> str:
    """What the file has of averaged weights that cannot be read; it follows the text of what was read."""
    names = [shown(entry.name) for entry in nameless(root) if is_averaged(entry)]
    return f", the averaged weights under {_listed(names)} have no names and were not read" if names else ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more
