"""Lower bound of the time of a graph on a device: per node the longer time of compute and memory traffic. No torch.

Source: roofline model, Williams, Waterman, Patterson, Communications of the ACM 52(4), 2009. Real times are longer
because of kernel launches and kernels far below the peak (depthwise convolutions). They can be shorter if a cache holds
the maps.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path

from effscope.costing.laws import ITEM_BYTES, VIEWS_ONLY
from effscope.costing.model import stage_of
from effscope.costing.nodes import NodeCost, node_costs, operation
from effscope.errors import unknown
from effscope.results import CostResult, CostRow, DeviceRow, DevicesResult, origin
from effscope.spec.graph import Graph
from effscope.spec.ops import ACTIVATIONS
from effscope.spec.outline import Outline
from effscope.spec.rewrite import deploy_form
from effscope.spec.shape_rules import Shape

PUBLISHED = ("float32", "float16", "int8")
"""dtypes with a column in devices.csv."""

FUSES = frozenset({*ACTIVATIONS, "batchnorm", "add", "broadcast_add", "mul", "elementwise"})
"""Primitives that a runtime fuses into the kernel of their operand. Layer norm, group norm and softmax are not fused:
they need the whole feature map first."""

COMPUTE, MEMORY = "compute", "memory"


@dataclass(frozen=True)
class Device:
    """Peak compute and bandwidth of a device.

    Attributes:
        name: name in tables.
        peaks: dtype -> FLOP/s, dense.
        bandwidth: memory bandwidth, byte/s.
        source: source of the figures.
    """

    name: str
    peaks: Mapping[str, float]
    bandwidth: float
    source: str

    def peak(self, dtype: str) -> float:
        """FLOP/s at a dtype. Raises EffscopeError if the device has no figure for it."""
        if dtype not in self.peaks:
            raise unknown(f"dtype for {self.name}", dtype, self.peaks)
        return self.peaks[dtype]

    def ridge(self, dtype: str) -> float:
        """FLOPs per byte above which compute takes longer than memory traffic."""
        return self.peak(dtype) / self.bandwidth


def devices() -> dict[str, Device]:
    """Published devices by name, from devices.csv."""
    with Path(__file__).with_name("devices.csv").open(encoding="utf-8", newline="") as file:
        found = [
            Device(
                row["name"],
                {dtype: float(row[dtype]) for dtype in PUBLISHED if row[dtype]},
                float(row["bandwidth"]),
                row["source"],
            )
            for row in csv.DictReader(file)
        ]
    return {device.name: device for device in found}


def device(name: str) -> Device:
    """A published device by its name, or by a unique part of the name. Case does not matter.

    Raises:
        EffscopeError: no device matches, or several do.
    """
    table = {known.lower(): found for known, found in devices().items()}
    asked = name.lower()
    fitting = [known for known in table if asked in known]
    if asked in table or (asked and len(fitting) == 1):
        return table.get(asked) or table[fitting[0]]
    near = fitting if asked else []
    near = near or get_close_matches(asked, table, n=3, cutoff=0.4) or list(table)
    raise unknown("device", name, (table[known].name for known in near))


def list_devices() -> DevicesResult:
    """Published devices as a result."""
    rows = tuple(
        DeviceRow(d.name, d.peaks.get("float32"), d.peaks.get("float16"), d.peaks.get("int8"), d.bandwidth, d.source)
        for d in devices().values()
    )
    return DevicesResult(rows, origin())


@dataclass(frozen=True)
class Predicted:
    """Lower bound of the time of one or more nodes. Instances can be added.

    Attributes:
        flops: operations.
        bytes: bytes read and written, weights included.
        seconds: sum over the nodes of max(compute time, memory time).
        computing_s: the part of `seconds` in nodes that are bound by compute.
    """

    flops: int = 0
    bytes: int = 0
    seconds: float = 0.0
    computing_s: float = 0.0

    def __add__(self, other: Predicted) -> Predicted:
        return Predicted(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def bound(self) -> str:
        """What bounds most of the time: "compute" or "memory"; "" if the time is 0."""
        if not self.seconds:
            return ""
        return COMPUTE if 2 * self.computing_s > self.seconds else MEMORY


@dataclass(frozen=True)
class _Work:
    """Nodes that run as one kernel: operations, and values read and written."""

    flops: int
    read: int
    written: int


def _works(rows: Sequence[NodeCost], fuses: frozenset[str], kept: frozenset[str]) -> dict[str, _Work]:
    """Work by the first node of each kernel.

    A primitive of `fuses` joins the kernel of an operand (the last one that no other node reads). That operand is then
    neither written nor read. Nodes in `kept` are always written.
    """
    readers = Counter(name for row in rows for name in row.node.inputs)
    starts: dict[str, str] = {}
    works: dict[str, _Work] = {}
    for row in rows:
        counts, node = row.counts, row.node
        own = _Work(counts.flops, row.read, counts.elements_out)
        alone = [name for name in node.inputs if name in starts and readers[name] == 1 and name not in kept]
        if node.op in fuses and alone:
            start = starts[alone[-1]]
            before = works[start]
            own = _Work(before.flops + own.flops, before.read + own.read - before.written, own.written)
        else:
            start = node.name
        works[start] = own
        if node.op not in VIEWS_ONLY:
            starts[node.name] = start
    return works


def predicted(
    rows: Sequence[NodeCost],
    device: Device,
    dtype: str = "float32",
    *,
    fused: bool = True,
    outputs: Iterable[str] = (),
) -> dict[str, Predicted]:
    """Lower bound of the time of every node: max(FLOPs / peak, bytes / bandwidth). Views take no time.

    Args:
        rows: costs of the deploy form (`spec.rewrite.deploy_form`), in forward order.
        device: the device that runs it.
        dtype: dtype of activations and weights, a key of `ITEM_BYTES`.
        fused: fuse activations, batch norms, sums and products into the kernel of their operand, as TensorRT,
            onnxruntime and OpenVINO do. Eager torch does not. The time of a fused node is at the node that it joined.
        outputs: names of nodes that are always written.

    Returns:
        Node name -> time.

    Raises:
        EffscopeError: the device has no figure for the dtype.
    """
    peak, item = device.peak(dtype), ITEM_BYTES[dtype]
    found = {row.node.name: Predicted() for row in rows}
    for name, work in _works(rows, FUSES if fused else frozenset(), frozenset(outputs)).items():
        moved = item * (work.read + work.written)
        computing, moving = work.flops / peak, moved / device.bandwidth
        found[name] = Predicted(work.flops, moved, max(computing, moving), computing if computing > moving else 0.0)
    return found


def predicted_by(
    rows: Sequence[NodeCost],
    device: Device,
    key: Callable[[NodeCost], str],
    dtype: str = "float32",
    *,
    fused: bool = True,
    outputs: Iterable[str] = (),
) -> dict[str, Predicted]:
    """Lower bound of the time of groups of nodes. Arguments as in `predicted`; `key` returns the group of a node."""
    return grouped(rows, predicted(rows, device, dtype, fused=fused, outputs=outputs), key)


def grouped(
    rows: Sequence[NodeCost], times: Mapping[str, Predicted], key: Callable[[NodeCost], str]
) -> dict[str, Predicted]:
    """Sum of the nodes' times for each group; `key` returns the group of a node."""
    groups: dict[str, Predicted] = {}
    for row in rows:
        name = key(row)
        groups[name] = groups.get(name, Predicted()) + times[row.node.name]
    return groups


def predicted_s(rows: Sequence[NodeCost], device: Device, dtype: str = "float32", *, fused: bool = True) -> float:
    """Lower bound of the total time, in s. Arguments as in `predicted`."""
    return sum(t.seconds for t in predicted(rows, device, dtype, fused=fused).values())


def with_times(
    result: CostResult, graph: Graph, outline: Outline, device: Device, image: Shape, *, fused: bool = True
) -> CostResult:
    """Add the predicted time of the deploy form on a device: `predicted_ms` and `bound` in every row.

    Args:
        result: result of `cost_graph` for this graph.
        graph: the counted graph.
        outline: its outline.
        device: the device that runs it, at the dtype of the result.
        image: shape of the input.
        fused: as in `predicted`.

    Raises:
        EffscopeError: the device has no figure for the dtype.
    """
    form, _ = deploy_form(graph)
    costs = node_costs(form, image)
    outputs = [name for names in form.views.values() for name in names]
    times = predicted(costs, device, result.dtype, fused=fused, outputs=outputs)
    whole = sum(times.values(), Predicted())

    def timed(rows: tuple[CostRow, ...], key: Callable[[NodeCost], str]) -> tuple[CostRow, ...]:
        """Rows with times. A row without nodes in the deploy form takes no time."""
        by_row = grouped(costs, times, key)
        found = [by_row.get(row.name, Predicted()) for row in rows]
        return tuple(
            replace(row, predicted_ms=1000 * t.seconds, bound=t.bound) for row, t in zip(rows, found, strict=True)
        )

    names = {layer: row for layer, (row, _) in outline.rows.items()}
    return replace(
        result,
        layers=timed(result.layers, lambda cost: names.get(cost.node.layer, "")),
        stages=timed(result.stages, lambda cost: stage_of(outline, cost.node.layer)),
        ops=timed(result.ops, operation),
        device=device.name,
        device_source=device.source,
        fused=fused,
        predicted_ms=1000 * whole.seconds,
        bound=whole.bound,
        ridge=device.ridge(result.dtype),
    )
