"""Which built-in layout, after which moves, a bare state dict belongs to: told from key names and shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from effscope.expand import expand
from effscope.families.catalog import ZOO
from effscope.moves import MOVES
from effscope.spec.layout import Layer, Layout
from effscope.spec.ops import owned

State = Mapping[str, Tensor]

SIGNS: dict[str, tuple[str, Callable[[Layer], bool]]] = {
    "cib-lk": ("m.0.cv1.2.conv1.conv.weight", lambda layer: layer.block == "C2f"),
    "cib": ("m.0.cv1.4.conv.weight", lambda layer: layer.block == "C2f"),
    "scdown": ("cv2.conv.weight", lambda layer: layer.block == "Conv"),
    "light-head": ("cv3.0.0.0.conv.weight", lambda layer: layer.block == "Detect"),
}
"""Move -> the key (below its layer) that shows it was made, and the layers it can show up in."""


def _moved(layout: Layout, state: State) -> Layout:
    changed: list[Layer] = []
    for n, layer in enumerate(layout.layers):
        for name, (sign, applies) in SIGNS.items():
            if applies(layer) and f"model.{n}.{sign}" in state:
                made = MOVES[name].apply(layer)
                assert isinstance(made, Layer)
                changed.append(made)
                break
    return layout.swap(changed)


def _classes(layout: Layout, state: State) -> int | None:
    head = len(layout.layers) - 1
    bias = state.get(f"model.{head}.cv3.0.2.bias")
    return None if bias is None else len(bias)


def _fits(layout: Layout, state: State) -> bool:
    tensors = {key: t.shape for node in expand(layout).nodes for key, t in owned(node).items()}
    counters = {key for key in tensors if key.endswith("num_batches_tracked")}
    if set(tensors) - counters != {k for k in state if not k.endswith("num_batches_tracked")}:
        return False
    return all(tuple(state[key].shape) == tuple(tensors[key]) for key in set(tensors) - counters)


def recognise(state: State) -> Layout | None:
    """The layout whose tensors have exactly these names and shapes, or None if no built-in model fits.

    Args:
        state: state dict with Ultralytics' names (`model.0.conv.weight`); batch counters may be missing.
    """
    for make in ZOO.values():
        base = make(80)
        nc = _classes(base, state)
        if nc is None:
            continue
        layout = _moved(replace(base, nc=nc), state)
        if _fits(layout, state):
            return layout
    return None
