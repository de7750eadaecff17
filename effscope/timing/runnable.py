"""A model made ready to be timed: what runs, its graph, the parts a pass is cut in."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from effscope.config import LatencyConfig
from effscope.costing.model import stage_of
from effscope.costing.nodes import NodeCost, node_costs
from effscope.detect.predict import CENTRED
from effscope.errors import EffscopeError
from effscope.models.open import Model
from effscope.nn.build import Network
from effscope.nn.fuse import deploy
from effscope.nn.preserved import preserved, temporary_hooks
from effscope.spec.graph import DECODED, Graph, image_shape
from effscope.spec.outline import Outline
from effscope.spec.rewrite import deploy_form
from effscope.timing.clock import Laps
from effscope.timing.peaks import torch_dtype


@dataclass(frozen=True)
class Subject:
    """What is timed.

    Attributes:
        name: for tables.
        graph: what runs, in the form it runs in.
        costs: of its nodes.
        forward: one pass over one image.
        lapped: the same pass, told part by part: part -> ms; None where it cannot be cut.
        part_of: layer of the graph -> part.
        heads: box formats of its heads; empty for what is no detector.
        notes: what a reader must know.
    """

    name: str
    graph: Graph
    costs: Sequence[NodeCost]
    forward: Callable[[], object]
    lapped: Callable[[], dict[str, float]] | None = None
    part_of: Mapping[str, str] = field(default_factory=dict)
    heads: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def decoded_shape(self) -> tuple[int, int]:
        """(4 + C, A) of the head."""
        shape = next(row.shape for row in self.costs if row.node.name == self.graph.views[DECODED][0])
        return shape[1], shape[2]


@contextmanager
def ready(model: Model, config: LatencyConfig, place: torch.device) -> Iterator[Subject]:
    """The model, ready to run one random image of the config's size, dtype and runtime. It is left as it was.

    Raises:
        EffscopeError: a model of which only tensors are known, one traced at another size, one that does not run in
            this dtype, a runtime that is not installed or cannot run it.
    """
    if config.runtime == "onnx":
        yield _proved(_onnx(model, config, place), config)
    elif model.architecture is not None:
        yield _proved(_built(model, config, place), config)
    else:
        with _foreign(model, config, place) as subject:
            yield _proved(subject, config)


def _proved(subject: Subject, config: LatencyConfig) -> Subject:
    """The subject, after a first pass. Raises EffscopeError, with torch's reason in one line, if it does not run."""
    try:
        subject.forward()
    except RuntimeError as e:
        reason = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise EffscopeError(f"{subject.name} does not run in {config.dtype} here: {reason[:200]}") from e
    return subject


def parts(outline: Outline, graph: Graph) -> dict[str, str]:
    """Layer -> "stage k", "head" or "between stages", as the rows of a cost are called."""
    return {layer: stage_of(outline, layer) for layer in graph.layers}


def _image(config: LatencyConfig, place: torch.device) -> Tensor:
    random = torch.Generator().manual_seed(config.seed)
    image = torch.rand(image_shape(config.imgsz), generator=random)
    return image.to(place, torch_dtype(config.dtype))


def _costs(graph: Graph, config: LatencyConfig) -> list[NodeCost]:
    return node_costs(graph, image_shape(config.imgsz))


def _heads(graph: Graph) -> tuple[str, ...]:
    """Box formats: corners of a one-to-one head; centre and size where there is a one-to-many head."""
    if DECODED not in graph.views:
        return ()
    own = str(graph.info["box_format"])
    return (own,) if own == CENTRED or "o2m" not in graph.views else (own, CENTRED)


def _built(model: Model, config: LatencyConfig, place: torch.device) -> Subject:
    network = deploy(model.network(config.seed)).to(place, torch_dtype(config.dtype))
    for node in network.spec.nodes:
        if node.op == "conv2d" and node.args["init"] == "arange":  # decoding stays in float32, whatever leads to it
            network.get_submodule(node.module).float()
    image, part_of = _image(config, place), parts(model.outline, network.spec)
    lapped = partial(_laps, network, image, part_of, place)
    costs, heads = _costs(network.spec, config), _heads(model.graph)
    return Subject(model.name, network.spec, costs, partial(network, image), lapped, part_of, heads)


def _laps(network: Network, image: Tensor, part_of: Mapping[str, str], place: torch.device) -> dict[str, float]:
    """One pass with a mark after every layer, summed by part."""
    laps, order = Laps(place), network.spec.layers
    marks = [layer.register_forward_hook(lambda *_: laps.mark()) for layer in network.model.values()]
    with temporary_hooks(marks):
        laps.mark()
        network(image)
    found: dict[str, float] = {}
    for position, ms in zip(network.model, laps.ms(), strict=True):
        part = part_of[order[int(position)]]
        found[part] = found.get(part, 0.0) + ms
    return found


@contextmanager
def _foreign(model: Model, config: LatencyConfig, place: torch.device) -> Iterator[Subject]:
    if model.module is None:
        raise EffscopeError(f"{model.name}: only its tensors are known, so it cannot be run: {model.why}")
    if model.imgsz != config.imgsz:
        raise EffscopeError(f"{model.name} was traced at {model.imgsz} px: open it at {config.imgsz} px")
    module: nn.Module = model.module
    if place.type != "cpu" or config.dtype != "float32":
        module = copy.deepcopy(module).to(place, torch_dtype(config.dtype))
    with preserved(module, {}):
        costs, run = _costs(model.graph, config), partial(module, _image(config, place))
        yield Subject(model.name, model.graph, costs, run, notes=model.outline.notes)


def _onnx(model: Model, config: LatencyConfig, place: torch.device) -> Subject:
    """The exported deploy form in onnxruntime; the graph of a one-to-one head ends in its best boxes."""
    from effscope.exporting.onnx_graph import INPUT, write_onnx  # noqa: PLC0415 - exporting is a job of its own

    if place.type != "cpu" or config.dtype != "float32":
        raise EffscopeError("--runtime onnx is timed on the processor in float32: give --device cpu --dtype float32")
    network = model.network(config.seed).eval()
    if DECODED not in network.spec.views:
        raise EffscopeError(f"{model.name} has no head that can be decoded here: it cannot be exported to onnx")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        write_onnx(file, network, tuple(f"class{i}" for i in range(network.nc)), config.imgsz)
        session = _session(file.read_bytes())
    image = _image(config, place).numpy()
    chosen = network.spec.info["box_format"] != CENTRED
    heads = () if chosen else _heads(model.graph)
    notes = (f"{model.name}: its ONNX graph ends in top-k, which forward holds",) if chosen else ()
    graph = deploy_form(model.graph)[0]
    costs = _costs(graph, config)
    return Subject(model.name, graph, costs, lambda: session.run(None, {INPUT: image}), heads=heads, notes=notes)


def _session(data: bytes) -> Any:
    """The graph with as many threads as torch has now."""
    import onnxruntime  # noqa: PLC0415 - optional, and there: the graph was checked with it

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
