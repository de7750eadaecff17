"""A model prepared for timing: its forward pass, its graph, and the parts of the pass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from effscope.config import LatencyConfig
from effscope.config.image_size import image_shape, size_words
from effscope.costing.model import stage_of
from effscope.costing.nodes import NodeCost, node_costs
from effscope.detect.predict import CENTRED
from effscope.errors import EffscopeError, first_line
from effscope.exporting.onnx_graph import INPUT, checked_graph, session
from effscope.models.opened import LayoutModel, Model, TensorFile, TracedModel
from effscope.nn.build import Network
from effscope.nn.fuse import deploy
from effscope.nn.preserved import preserved, temporary_hooks
from effscope.spec.graph import DECODED, Graph, input_channels
from effscope.spec.outline import Outline
from effscope.spec.rewrite import deploy_form
from effscope.timing.clock import Laps
from effscope.timing.peaks import torch_dtype


@dataclass(frozen=True)
class Runnable:
    """A model that can be timed.

    Attributes:
        name: name in tables.
        graph: the graph that runs.
        costs: costs of its nodes.
        forward: runs one image.
        parts_ms: runs one image and returns the time of each part: part -> ms. None if the pass cannot be divided.
        part_of: layer of the graph -> part.
        heads: box formats of its heads; empty if the model is not a detector.
        notes: notes for the reader of the result.
    """

    name: str
    graph: Graph
    costs: Sequence[NodeCost]
    forward: Callable[[], object]
    parts_ms: Callable[[], dict[str, float]] | None = None
    part_of: Mapping[str, str] = field(default_factory=dict)
    heads: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def decoded_shape(self) -> tuple[int, int]:
        """Shape (4 + C, A) of the decoded output."""
        shape = next(row.shape for row in self.costs if row.node.name == self.graph.views[DECODED][0])
        return shape[1], shape[2]


@contextmanager
def runnable(model: Model, config: LatencyConfig, device: torch.device) -> Iterator[Runnable]:
    """Prepare a model for one random image at the config's size, dtype and runtime. Restores the model at exit.

    Raises:
        EffscopeError: the architecture is unknown, the model was traced at another size or does not run in this dtype,
            or the runtime is not installed or cannot run the model.
    """
    if config.runtime == "onnx":
        yield _checked(_onnx(model, config, device), config)
    elif isinstance(model, LayoutModel):
        yield _checked(_built(model, config, device), config)
    else:
        with _traced(model, config, device) as found:
            yield _checked(found, config)


def _checked(found: Runnable, config: LatencyConfig) -> Runnable:
    """The runnable, after a first pass. Raises EffscopeError, with torch's reason in one line, if the pass fails."""
    try:
        found.forward()
    except RuntimeError as e:
        raise EffscopeError(f"{found.name} does not run in {config.dtype} here: {first_line(e)[:200]}") from e
    return found


def parts(outline: Outline, graph: Graph) -> dict[str, str]:
    """Layer -> "stage k", "head" or "between stages", the names of the rows of a cost."""
    return {layer: stage_of(outline, layer) for layer in graph.layers}


def _image(graph: Graph, config: LatencyConfig, device: torch.device) -> Tensor:
    random = torch.Generator().manual_seed(config.seed)
    image = torch.rand(image_shape(config.imgsz, input_channels(graph)), generator=random)
    return image.to(device, torch_dtype(config.dtype))


def _costs(graph: Graph, config: LatencyConfig) -> list[NodeCost]:
    return node_costs(graph, image_shape(config.imgsz, input_channels(graph)))


def _heads(graph: Graph) -> tuple[str, ...]:
    """Box formats: "xyxy" for a one-to-one head, then "xywh" for a one-to-many head."""
    if DECODED not in graph.views:
        return ()
    own = str(graph.info["box_format"])
    return (own,) if own == CENTRED or "o2m" not in graph.views else (own, CENTRED)


def _built(model: Model, config: LatencyConfig, device: torch.device) -> Runnable:
    network = deploy(model.network(config.seed)).to(device, torch_dtype(config.dtype))
    for node in network.spec.nodes:
        if node.op == "conv2d" and node.args["init"] == "arange":  # boxes are always decoded in float32
            network.get_submodule(node.module).float()
    image, part_of = _image(network.spec, config, device), parts(model.outline, network.spec)
    parts_ms = partial(_parts_ms, network, image, part_of, device)
    costs, heads = _costs(network.spec, config), _heads(model.graph)
    return Runnable(model.name, network.spec, costs, partial(network, image), parts_ms, part_of, heads)


def _parts_ms(network: Network, image: Tensor, part_of: Mapping[str, str], device: torch.device) -> dict[str, float]:
    """Times of one pass by part, from a mark after each layer."""
    laps, order = Laps(device), network.spec.layers
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
def _traced(model: TracedModel | TensorFile, config: LatencyConfig, device: torch.device) -> Iterator[Runnable]:
    if not isinstance(model, TracedModel):
        raise EffscopeError(f"{model.name}: only its tensors are known, so it cannot run: {model.why}")
    if model.size != config.imgsz:
        sizes = size_words(model.size), size_words(config.imgsz)
        raise EffscopeError(f"{model.name} was traced at {sizes[0]}: open it at {sizes[1]}")
    module: nn.Module = model.module
    if device.type != "cpu" or config.dtype != "float32":
        module = copy.deepcopy(module).to(device, torch_dtype(config.dtype))
    with preserved(module, {}):
        costs, run = node_costs(model.graph, model.shape), partial(module, _image(model.graph, config, device))
        if model.inputs is not None:
            run = partial(module, *model.inputs.args, **model.inputs.kwargs)
        yield Runnable(model.name, model.graph, costs, run, notes=model.outline.notes)


def _onnx(model: Model, config: LatencyConfig, device: torch.device) -> Runnable:
    """The exported deploy form in onnxruntime. The graph of a one-to-one head includes top-k."""
    if device.type != "cpu" or config.dtype != "float32":
        raise EffscopeError("`runtime` onnx runs on the CPU in float32: set `device` to cpu and `dtype` to float32")
    network = model.network(config.seed).eval()
    if DECODED not in network.spec.views:
        raise EffscopeError(f"{model.name} has no head that effscope can decode, so it cannot be exported to ONNX")
    run = session(checked_graph(network, (), config.imgsz)[0], torch.get_num_threads()).run
    image = _image(network.spec, config, device).numpy()
    has_top_k = network.spec.info["box_format"] != CENTRED
    heads = () if has_top_k else _heads(model.graph)
    notes = (f"{model.name}: its ONNX graph ends in top-k, so forward includes top-k",) if has_top_k else ()
    graph = deploy_form(model.graph)[0]
    costs = _costs(graph, config)
    return Runnable(model.name, graph, costs, lambda: run(None, {INPUT: image}), heads=heads, notes=notes)
