"""What time a graph takes on a device at best: the longer of computing and moving, node by node. No torch.

Source: roofline model, Williams, Waterman, Patterson, Communications of the ACM 52(4), 2009. Launches and
kernels far from the peak (depthwise convolutions) take longer than it says; a cache that holds the maps takes less.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path

from effscope.costing.laws import ITEM_BYTES, VIEWS_ONLY
from effscope.costing.nodes import NodeCost
from effscope.errors import unknown
from effscope.results import DeviceRow, DevicesResult, origin
from effscope.spec.ops import ACTIVATIONS

PUBLISHED = ("float32", "float16", "int8")
"""dtypes with a column of peaks in devices.csv."""

FUSES = frozenset({*ACTIVATIONS, "batchnorm", "add", "broadcast_add", "mul", "elementwise"})
"""Primitives a runtime computes where their operand is made. Norms over a whole map (layer, group) and softmax need all
of it first, so they are not among them."""

COMPUTE, MEMORY = "compute", "memory"


@dataclass(frozen=True)
class Device:
    """What a device can do at best.

    Attributes:
        name: for tables.
        peaks: dtype -> FLOP/s, dense.
        bandwidth: of its memory, byte/s.
        source: where the figures stand.
    """

    name: str
    peaks: Mapping[str, float]
    bandwidth: float
    source: str

    def peak(self, dtype: str) -> float:
        """FLOP/s at a dtype. Raises EffscopeError for one the device has no figure for."""
        if dtype not in self.peaks:
            raise unknown(f"dtype for {self.name}", dtype, self.peaks)
        return self.peaks[dtype]

    def ridge(self, dtype: str) -> float:
        """FLOPs per byte from which on computing takes longer than moving."""
        return self.peak(dtype) / self.bandwidth


def devices() -> dict[str, Device]:
    """The published devices by name."""
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
    """A published device; upper and lower case are one, and so is a part of the name that fits one device alone.

    Raises:
        EffscopeError: none or several fit.
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
    """The published devices as a result."""
    rows = tuple(
        DeviceRow(d.name, d.peaks.get("float32"), d.peaks.get("float16"), d.peaks.get("int8"), d.bandwidth, d.source)
        for d in devices().values()
    )
    return DevicesResult(rows, origin())


@dataclass(frozen=True)
class Predicted:
    """Time at best of a node or of several. They add up.

    Attributes:
        flops: operations.
        bytes: read and written, weights included.
        seconds: the sum of each node's longer time.
        computing_s: the share of `seconds` spent in nodes that computing bounds.
    """

    flops: int = 0
    bytes: int = 0
    seconds: float = 0.0
    computing_s: float = 0.0

    def __add__(self, other: Predicted) -> Predicted:
        return Predicted(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def bound(self) -> str:
        """What bounds most of the time: "compute" or "memory"; nothing where there is none."""
        if not self.seconds:
            return ""
        return COMPUTE if 2 * self.computing_s > self.seconds else MEMORY


@dataclass(frozen=True)
class _Work:
    """Nodes run as one: their operations and the values they read and write."""

    flops: int
    read: int
    written: int


def _works(rows: Sequence[NodeCost], fuses: frozenset[str], kept: frozenset[str]) -> dict[str, _Work]:
    """Work by the node that starts it. A primitive of `fuses` joins the last operand that it alone reads, which is then
    neither written nor read, unless it is in `kept`."""
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
    """Time at best of every node on a device: max(FLOPs / peak, bytes / bandwidth). Nodes that re-label cost nothing.

    Args:
        rows: costs in forward order, of the form that is run (`spec.rewrite.deploy_form`).
        device: what runs it.
        dtype: key of ITEM_BYTES: of weights and maps alike.
        fused: an activation, batch norm, sum or product is computed where the one operand that it alone reads is made,
            so that operand is neither written nor read: as deploying runtimes do (TensorRT, onnxruntime, OpenVINO).
            Eager torch does not. A fused node's time is at the node it joined.
        outputs: names of nodes that are written whatever reads them.

    Raises:
        EffscopeError: a dtype the device has no figure for.
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
    """Time at best of groups of nodes; arguments as in `predicted`, and `key` names the group of a node."""
    return grouped(rows, predicted(rows, device, dtype, fused=fused, outputs=outputs), key)


def grouped(
    rows: Sequence[NodeCost], times: Mapping[str, Predicted], key: Callable[[NodeCost], str]
) -> dict[str, Predicted]:
    """Times of nodes summed by the group that `key` names."""
    groups: dict[str, Predicted] = {}
    for row in rows:
        name = key(row)
        groups[name] = groups.get(name, Predicted()) + times[row.node.name]
    return groups


def predicted_s(rows: Sequence[NodeCost], device: Device, dtype: str = "float32", *, fused: bool = True) -> float:
    """Least seconds of the whole; arguments as in `predicted`."""
    return sum(t.seconds for t in predicted(rows, device, dtype, fused=fused).values())
