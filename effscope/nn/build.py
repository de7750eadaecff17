"""From a Graph to torch: one `torch.fx.GraphModule` per layer; every primitive is a module that the layer calls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn

from effscope.errors import EffscopeError
from effscope.nn.modules import BUILDERS
from effscope.nn.seeds import path_seed
from effscope.spec.graph import DECODED, INPUT, Graph, Node

ONE_TO_ONE = "one2one_"
"""Prefix of the module names of the one-to-one head in a dual head."""

Owner = nn.Module | Tensor
Make = Callable[[Node], Owner]


@dataclass(frozen=True)
class Wiring:
    """Inputs and outputs of a layer, as node names.

    Attributes:
        inputs: nodes of other layers that it reads.
        outputs: its own nodes that other layers or views read.
        done: inputs that no later layer or view reads: they can be freed.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    done: tuple[str, ...] = ()


class Network(nn.Module):
    """A built graph. Called on images (B, 3, H, W) it returns view name -> tuple of tensors.

    `network.model["8"]` is a layer, `network.model["8"].cv2.conv` a primitive. State-dict keys are the `params` of the
    graph's nodes. A layer takes and returns the tensors in its `wiring`, in that order, outputs as a tuple. A layer of
    one primitive is the module of this primitive and returns a tensor.

    Attributes:
        spec: the graph.
        wiring: position of a layer -> Wiring.
    """

    def __init__(self, spec: Graph, layers: dict[str, nn.Module], wiring: dict[str, Wiring]):
        super().__init__()
        self.spec, self.wiring = spec, wiring
        self.model = nn.ModuleDict(layers)

    @property
    def nc(self) -> int:
        """Number of classes. Raises EffscopeError for a network without a detection head."""
        if "nc" not in self.spec.info:
            raise EffscopeError("this network has no detection head: it can be counted and ranked, not trained")
        return int(self.spec.info["nc"])

    def forward(self, images: Tensor) -> dict[str, tuple[Tensor, ...]]:
        known = {INPUT: images}
        for position, layer in self.model.items():
            wires = self.wiring[position]
            made = layer(*(known[name] for name in wires.inputs))
            known.update(zip(wires.outputs, made if isinstance(layer, fx.GraphModule) else (made,), strict=True))
            for name in wires.done:
                del known[name]
        return {view: tuple(known[name] for name in names) for view, names in self.spec.views.items()}


def digest(state: Mapping[str, Tensor]) -> str:
    """Hash of a state dict (16 hex digits): names, shapes, dtypes and all values."""
    found = hashlib.sha256()
    for key, tensor in state.items():
        found.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def _identifier(name: str) -> str:
    return "v_" + "".join(ch if ch.isalnum() else "_" for ch in name)


def _wire(graph: Graph, layer_id: str) -> Wiring:
    own = {node.name for node in graph.in_layer(layer_id)}
    outer = [node for node in graph.nodes if node.layer != layer_id]
    needed = {name for node in outer for name in node.inputs} | {n for names in graph.views.values() for n in names}
    inputs = [name for node in graph.in_layer(layer_id) for name in node.inputs if name not in own]
    outputs = [node.name for node in graph.in_layer(layer_id) if node.name in needed]
    return Wiring(tuple(dict.fromkeys(inputs)), tuple(outputs))


def place(root: nn.Module, path: str, owner: Owner) -> None:
    """Add a module, parameter or buffer to a module tree at a dotted path; missing parents are created."""
    *parents, leaf = path.split(".")
    for name in parents:
        if name not in root._modules:
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    if isinstance(owner, nn.Parameter):
        root.register_parameter(leaf, owner)
    elif isinstance(owner, Tensor):
        root.register_buffer(leaf, owner)
    else:
        root.add_module(leaf, owner)


def _layer_module(graph: Graph, layer_id: str, prefix: str, wiring: Wiring, make: Make) -> nn.Module:
    alone = graph.in_layer(layer_id)[0]
    if alone.module == prefix:  # the layer is one primitive
        module = make(alone)
        assert isinstance(module, nn.Module)
        return module
    root, code = nn.Module(), fx.Graph()
    values = {name: code.placeholder(_identifier(name)) for name in wiring.inputs}
    placed: set[str] = set()
    for node in graph.in_layer(layer_id):
        path = node.module.removeprefix(f"{prefix}.")
        if path not in placed:
            placed.add(path)
            place(root, path, make(node))
        if node.op == "parameter":
            values[node.name] = code.get_attr(path)
        else:
            values[node.name] = code.call_module(path, tuple(values[name] for name in node.inputs))
    code.output(tuple(values[name] for name in wiring.outputs))
    return fx.GraphModule(root, code, class_name="Layer")


def _assemble(graph: Graph, make: Make) -> Network:
    layers: dict[str, nn.Module] = {}
    wiring: dict[str, Wiring] = {}
    for n, layer_id in enumerate(graph.layers):
        if graph.in_layer(layer_id):
            wiring[str(n)] = _wire(graph, layer_id)
            layers[str(n)] = _layer_module(graph, layer_id, f"model.{n}", wiring[str(n)], make)
    return Network(graph, layers, _released(graph, wiring))


def _released(graph: Graph, wiring: dict[str, Wiring]) -> dict[str, Wiring]:
    """The wiring with `done` filled in: each value is freed after the last layer that reads it."""
    kept = {name for names in graph.views.values() for name in names}
    released: dict[str, Wiring] = {}
    for position, wires in reversed(wiring.items()):
        released[position] = replace(wires, done=tuple(name for name in wires.inputs if name not in kept))
        kept |= set(wires.inputs)
    return dict(reversed(released.items()))


def _fresh(node: Node, seed: int) -> Owner:
    """The module or tensor of a node, with random values from its own seed."""
    # Only the CPU generator: `torch.manual_seed` also changes those of the GPUs, and is slower.
    torch.default_generator.manual_seed(path_seed(seed, node.module))
    return BUILDERS[node.op](node.args)


def build(graph: Graph, seed: int = 0) -> Network:
    """A network with random weights (torch's defaults; head biases as in YOLOv8), in training mode.

    The values of a module depend only on the seed and its path: a module with the same path and shape has equal weights
    in every layout. A one-to-one head starts as a copy of the one-to-many head.

    Args:
        graph: an expanded layout. A call of the network computes all views; `view` makes a network for some of them.
        seed: seed of the whole network. The global random state does not change.
    """
    with torch.random.fork_rng(devices=[]):
        network = _assemble(graph, lambda node: _fresh(node, seed))
    state = network.state_dict()
    for key, tensor in state.items():
        if ONE_TO_ONE in key and key.replace(ONE_TO_ONE, "") in state:
            tensor.copy_(state[key.replace(ONE_TO_ONE, "")])
    return network


def raw(network: Network) -> Network:
    """A network with only the view of the raw levels: one-to-many if the head has it, else one-to-one."""
    return view(network, "o2m" if "o2m" in network.spec.views else "o2o")


def undecoded(network: Network) -> Network:
    """A network with the views of the raw levels of all its heads."""
    return view(network, *(name for name in network.spec.views if name != DECODED))


def _owner(network: Network, node: Node) -> Owner:
    return network.get_parameter(node.name) if node.op == "parameter" else network.get_submodule(node.module)


def view(network: Network, *views: str) -> Network:
    """A network that computes only these views. It shares all primitives, and so all weights, with `network`."""
    shared = _assemble(network.spec.keep(*views), lambda node: _owner(network, node))
    known = set(network.modules())
    for module in shared.modules():
        if module not in known:
            module.training = network.training
    return shared
