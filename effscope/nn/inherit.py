"""Copy weights into a network with a changed layout. Layers are matched by `origin`, tensors by name and shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from effscope.errors import EffscopeError
from effscope.nn.build import ONE_TO_ONE, Network
from effscope.results import LayerTransfer
from effscope.spec.layout import Layout

LEAST_SHARE = 0.10
"""Minimum share of parameters that must fit: even different scales of a family have a few tensors of equal shape."""


@dataclass(frozen=True)
class Transfer:
    """Result of `inherit`, as state-dict keys.

    Attributes:
        exact: copied tensors of the new network, with batch counters; the other fields do not list batch counters.
        reshaped: tensors of the new network with another shape in the base; they keep their random values.
        fresh: tensors of the new network that are not in the base; they keep their random values.
        unused: tensors of the base that were not copied.
    """

    exact: tuple[str, ...]
    reshaped: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]

    def summary(self) -> str:
        """One line: the number of copied tensors, and the modules with other tensors."""
        new = [*self.reshaped, *self.fresh]
        parts = Counter(".".join(key.split(".")[:3]) for key in new)
        total = len(self.exact) + len(new)
        line = f"{len(self.exact)} of {total} tensors transferred"
        if new:
            line += "; fresh: " + ", ".join(f"{part} ({n})" for part, n in parts.items())
        return line


def by_layer(transfer: Transfer, network: Network, layout: Layout) -> tuple[LayerTransfer, ...]:
    """The transfer per layer, without layers that have no tensors."""
    exact, reshaped = set(transfer.exact), set(transfer.reshaped)
    rows = []
    for n, layer in enumerate(layout.layers):
        name = f"model.{n}"
        own = {k: t.numel() for k, t in network.state_dict().items() if k.startswith(f"{name}.") and not _counts(k)}
        over = [k for k in own if k in exact]
        if own:
            state = "exact" if len(over) == len(own) else "partial" if over else "fresh"
            params, over_params = sum(own.values()), sum(own[k] for k in over)
            n_reshaped = len(reshaped & own.keys())
            rows.append(LayerTransfer(name, layer.block, state, len(over), n_reshaped, len(own), over_params, params))
    return tuple(rows)


def load_state(network: Network, state: Mapping[str, Tensor], name: str) -> None:
    """Load a state dict that must fit exactly; only batch counters may be missing.

    Args:
        network: changed in place.
        state: its tensors, any dtype.
        name: name of the weights in errors.

    Raises:
        EffscopeError: a tensor is missing, unknown or has another shape.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    strange = [key for key in state if key not in own]
    reshaped = [key for key in state if key in own and state[key].shape != own[key].shape]
    for what, keys in (("lack", missing), ("have an unknown", strange), ("have another shape of", reshaped)):
        if keys:
            raise EffscopeError(
                f"the weights of {name} {what} '{keys[0]}' ({len(keys)} in total): they do not fit the layout"
            )
    with torch.no_grad():
        for key, tensor in state.items():
            own[key].copy_(tensor)


def _base_key(key: str, positions: Mapping[int, int | None]) -> str | None:
    root, n, rest = key.split(".", 2)
    base = positions.get(int(n))
    return None if base is None else f"{root}.{base}.{rest}"


def positions(layout: Layout, base: Layout) -> dict[int, int | None]:
    """Position of each layer of `layout` -> position of the base layer it came from, None for a new one."""
    known = {layer.id: n for n, layer in enumerate(base.layers)}
    return {n: known.get(layer.origin or "") for n, layer in enumerate(layout.layers)}


def inherit(network: Network, layout: Layout, base: Layout, base_state: Mapping[str, Tensor]) -> Transfer:
    """Copy every tensor that has the same name and shape in the base; the others keep their random values.

    The one-to-one head of a dual head is copied from the base's one-to-one head, or else from its one-to-many head. A
    single one-to-one head is copied from the one-to-one head of a dual base.

    Args:
        network: built from `layout`; changed in place.
        layout: the `origin` of its layers are ids of `base`.
        base: layout of `base_state`.
        base_state: state dict, any float dtype.

    Raises:
        EffscopeError: less than `LEAST_SHARE` of the parameters fit.
    """
    own, joined = network.state_dict(), positions(layout, base)
    alone = "o2o" in network.spec.views and "o2m" not in network.spec.views
    exact: dict[str, str] = {}
    reshaped: list[str] = []
    fresh: list[str] = []
    for key, tensor in own.items():
        source = _base_key(key, joined)
        if source is not None and source not in base_state:
            source = source.replace(ONE_TO_ONE, "")
        elif source is not None and alone and _one_to_one(source) in base_state:
            source = _one_to_one(source)
        if source is None or source not in base_state:
            fresh.append(key)
        elif base_state[source].shape != tensor.shape:
            reshaped.append(key)
        else:
            exact[key] = source
    share = sum(own[key].numel() for key in exact) / sum(tensor.numel() for tensor in own.values())
    if share < LEAST_SHARE:
        raise EffscopeError(
            f"only {100 * share:.0f} % of {layout.name} fits these weights: they belong to another model; "
            "give weights of this model"
        )
    with torch.no_grad():
        for key, source in exact.items():
            own[key].copy_(base_state[source])
    used = set(exact.values())
    return Transfer(
        tuple(exact), _tensors(reshaped), _tensors(fresh), _tensors([k for k in base_state if k not in used])
    )


def _one_to_one(key: str) -> str:
    """The key of the same tensor in the one-to-one part of a dual head."""
    root, n, rest = key.split(".", 2)
    return f"{root}.{n}.{ONE_TO_ONE}{rest}"


def _tensors(keys: list[str]) -> tuple[str, ...]:
    return tuple(key for key in keys if not _counts(key))


def _counts(key: str) -> bool:
    """Whether a tensor is a batch counter of a norm."""
    return key.endswith("num_batches_tracked")
