"""Calls of layers in a file with a graph: classes, groups, epsilons, and which norm follows which convolution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from effscope.checkpoint.pickled.module_tree import ModuleRecord, Plain

NORM = "BatchNorm"
OTHER = "torch.nn.Module"
"""Class of a module whose weight is neither that of a convolution nor of a linear layer."""

COMPUTED = "computed"
"""Scalar of a layer that computes its weight from the tensors of the file."""


@dataclass(frozen=True)
class LayerCall:
    """A call of a layer.

    Attributes:
        path: path of the module that owns the tensors.
        class_name: a class of torch: `Conv2d`, `ConvTranspose2d`, `Linear`; `NORM` for batch norms.
        source: the value that it reads; any name that is unique in the graph.
        out: its output value.
        groups: groups of a convolution; None if the call computes them.
        eps: epsilon of a norm; None if the call computes it.
        computed: whether its weight is computed from tensors of the file.
    """

    path: str
    class_name: str
    source: Hashable
    out: Hashable
    groups: int | None = 1
    eps: float | None = None
    computed: bool = False

    def record(self) -> ModuleRecord:
        """The layer as a module."""
        name, value = ("eps", self.eps) if self.class_name == NORM else ("groups", self.groups)
        found: dict[str, Plain] = {} if value is None else {name: value}
        return ModuleRecord(self.path, self.class_name, {**found, **({COMPUTED: True} if self.computed else {})})


def following(calls: Iterable[LayerCall], readers: Mapping[Hashable, int]) -> dict[str, str]:
    """Path of a norm -> path of the layer whose output it reads, if nothing else reads it and both are called once.

    Args:
        calls: all calls of layers.
        readers: value -> how many times it is read, as an output of the graph too.
    """
    calls = list(calls)
    times = Counter(call.path for call in calls)
    made = {call.out: call for call in calls if call.class_name != NORM}
    return {
        call.path: made[call.source].path
        for call in calls
        if call.class_name == NORM and call.source in made and readers.get(call.source) == 1
        and times[call.path] == times[made[call.source].path] == 1
    }  # fmt: skip


def records(calls: Iterable[LayerCall], keys: Iterable[str]) -> tuple[ModuleRecord, ...]:
    """The modules that own tensors: those that are called as layers, and others.

    Args:
        calls: all calls of layers.
        keys: state-dict keys of the tensors that the graph reads.
    """
    found = {call.path: call.record() for call in calls}
    for key in keys:
        path = key.rpartition(".")[0]
        found.setdefault(path, ModuleRecord(path, OTHER, {}))
    return tuple(found.values())
