"""ONNX files: the graph, and the numbers of its initialisers, also those in files beside it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from effscope.checkpoint.formats.onnx_weights import GraphWeights, graph_weights
from effscope.checkpoint.pickled.policy import shown
from effscope.errors import EffscopeError, counted

MOST_PER_BYTE = 2
"""Maximum number of values in one byte: int4 is the smallest type."""

MOST_NESTED, MOST_NODES = 50, 1_000_000


def read_onnx(path: Path) -> GraphWeights:
    """The weights of an ONNX file.

    Quantised weights become float32: (integer - zero point) * scale, per tensor or per channel. Initialisers without a
    module name get the name of the node that uses them (`/model.0/conv/Conv` -> `model.0.conv.weight`).

    Raises:
        EffscopeError: the file is damaged or not ONNX, or its weights are in other files that cannot be read.
    """
    import onnx  # noqa: PLC0415 - slow import

    data = path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own DecodeError, UnicodeDecodeError, RecursionError
        raise EffscopeError("it is not an ONNX model, or a damaged one: export it again") from error
    if not model.graph.node:
        raise EffscopeError("it is not an ONNX model, or an empty one: export it again")
    with warnings.catch_warnings():  # onnx warns of keys that it does not know
        warnings.simplefilter("ignore")
        n_bytes = len(data) + _load_external(model, path)
    graphs = list(_graphs(_inlined(model).graph, 0))
    protos = [proto for graph in graphs for proto in graph.initializer]
    arrays = {proto.name: _array(proto, n_bytes) for proto in protos}
    nodes = [node for graph in graphs for node in graph.node]
    for node in nodes:  # a Constant node is another form of an initialiser
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.HasField("t"):
                    arrays[node.output[0]] = _array(attribute.t, n_bytes)
    outputs = [value.name for graph in graphs for value in graph.output]
    try:
        with np.errstate(all="ignore"):
            return graph_weights(nodes, arrays, frozenset(proto.name for proto in protos), outputs)
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise EffscopeError("one of its nodes lacks inputs or has wrong ones: export it again") from error


def _array(proto: Any, n_bytes: int) -> Any:
    from onnx import numpy_helper  # noqa: PLC0415 - slow import

    n_values = int(np.prod(proto.dims, dtype=object)) if proto.dims else 1
    if n_values > n_bytes * MOST_PER_BYTE:
        raise EffscopeError(f"the initialiser {shown(proto.name)} claims more numbers than the file has")
    try:
        return np.array(numpy_helper.to_array(proto))
    except Exception as error:  # wrong sizes and unknown types raise ValueError, KeyError, TypeError, ...
        raise EffscopeError(f"the initialiser {shown(proto.name)} is damaged: export it again") from error


def _inlined(model: Any) -> Any:
    """The model with the bodies of its local functions in place of their calls."""
    from onnx import inliner  # noqa: PLC0415 - slow import

    if not model.functions:
        return model
    bodies = {(function.domain, function.name): function for function in model.functions}
    if _expanded(model.graph.node, bodies, {}, 0) > MOST_NODES:
        raise EffscopeError(f"its local functions make more than {MOST_NODES} nodes: do not use it")
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # the inliner's own errors for functions that do not fit
        raise EffscopeError("its local functions are damaged or call themselves: export it again") from error


def _expanded(nodes: Any, bodies: Mapping[Any, Any], known: dict[Any, int], depth: int) -> int:
    """Number of nodes after every call of a local function is replaced by its body."""
    if depth > MOST_NESTED:
        return MOST_NODES + 1
    total = 0
    for node in nodes:
        key = (node.domain, node.op_type)
        if key not in bodies:
            total += 1
            continue
        if key not in known:
            known[key] = MOST_NODES + 1  # a function that calls itself
            known[key] = _expanded(bodies[key].node, bodies, known, depth + 1)
        total += known[key]
    return min(total, MOST_NODES + 1)


def _graphs(graph: Any, depth: int) -> Iterator[Any]:
    """The graph and the graphs in its nodes (branches of If, bodies of Loop and Scan)."""
    if depth > MOST_NESTED:
        raise EffscopeError(f"its graphs are nested deeper than {MOST_NESTED}: do not use it")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g, depth + 1)
            for inner in attribute.graphs:
                yield from _graphs(inner, depth + 1)


def _load_external(model: Any, path: Path) -> int:
    """Read the numbers that stand in files beside the graph, and return the bytes of these files.

    Raises:
        EffscopeError: a file is missing, is not in the folder of the graph or below it, or is too short.
    """
    import onnx  # noqa: PLC0415 - slow import
    from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model  # noqa: PLC0415

    initializers = [t for graph in _graphs(model.graph, 0) for t in graph.initializer]
    external = [t for t in initializers if t.data_location == onnx.TensorProto.EXTERNAL]
    if not external:
        return 0
    try:
        found = [ExternalDataInfo(tensor) for tensor in external]
    except (ValueError, TypeError) as error:
        raise EffscopeError("it does not say rightly where its numbers are: export it again") from error
    names = sorted({one.location for one in found})
    said = f"the numbers of {counted(len(external), 'tensor')} are in other files ({shown(', '.join(names))})"
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in names):
        raise EffscopeError(f"{said} outside its folder: do not use it, or save the model as one file")
    try:
        sizes = {name: (path.parent / name).stat().st_size for name in names}
        claimed = sum(one.length or sizes[one.location] for one in found)
        if claimed > sum(sizes.values()):
            raise EffscopeError(f"{said}, which have {sum(sizes.values())} bytes, not {claimed}: export it again")
        load_external_data_for_model(model, str(path.parent))
    except EffscopeError:
        raise
    except Exception as error:  # a missing or short file, onnx's checks of links and paths
        raise EffscopeError(f"{said}: put them beside it, or save the model as one file") from error
    return sum(sizes.values())
