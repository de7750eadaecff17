"""`cost`, `counters`, `scaled_cost`, `diff` and `zoo`: what models cost. Zoo names and YAML need no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from effscope.api.progress_line import shown
from effscope.config import ImageSize, ScaleConfig, check_imgsz, check_stride, image_shape, read_image_size, square_side
from effscope.errors import EffscopeError, NegativeAnswer
from effscope.models.naming import warn_of_assumed
from effscope.models.open import USUAL_SIZE, open_model
from effscope.models.opened import LayoutModel, TracedModel
from effscope.progress import Auto, Progress
from effscope.results import CostResult
from effscope.spec.graph import DECODED, input_channels

if TYPE_CHECKING:
    from torch.nn import Module

    from effscope.models.opened import Model
    from effscope.nn.build import Network
    from effscope.results import CountersResult, DiffResult, ScaleResult, TensorsResult, ZooResult
    from effscope.spec.graph import Graph
    from effscope.spec.outline import Outline

HERE = "here"
"""Name of this machine as a device."""


def cost(
    model: str | Module,
    imgsz: ImageSize | str | None = None,
    dtype: str = "float32",
    device: str | None = None,
    strict: bool = False,
    inputs: Any = None,
) -> CostResult | TensorsResult:
    """Exact parameters, MACs, FLOPs, bytes and memory of a model on one input; for weights of an unknown architecture
    only the parameters. Zoo names and YAML need no torch. A name like `yolov8n.pt` without such a file is the built-in
    layout, with a warning and a note.

    Args:
        model: zoo name, layout YAML, weights file, run folder, torchvision:NAME, timm:NAME, or a torch module.
        imgsz: size of the image: a side in px, (height, width), or a whole shape (batch, channels, height, width);
            default 640, for torchvision and timm models their native size.
        dtype: dtype of activations and weights: float32, float16, bfloat16 or int8.
        device: predict times for this device: a name in `devices`, or "here" for this machine (measured once).
        strict: raise an error if an operation cannot be counted.
        inputs: arguments of a torch module instead of one image: a tensor, a tuple of arguments (tensors, numbers), or
            a dict of arguments by name.

    Raises:
        NegativeAnswer: `strict`, and an operation is not counted.
        EffscopeError: bad input, in one line.
    """
    from effscope.costing.model import cost_graph, cost_of_tensors  # noqa: PLC0415

    found = _opened(model, imgsz, inputs)
    graph, outline = found.model.graph, found.outline
    if not graph.views:
        if device is not None:
            raise EffscopeError(f"{outline.model}: only its parameters are known, so no time can be predicted")
        result: CostResult | TensorsResult = cost_of_tensors(graph, outline)
    else:
        result = cost_graph(graph, outline, found.size, dtype, found.shape)
        if device is not None:
            result = _timed(result, graph, outline, device, found.shape)
    if strict and result.uncounted:
        raise NegativeAnswer(
            f"{result.model}: not counted: {', '.join(result.uncounted)}; without `strict` the result lists it"
        )
    return result


@dataclass(frozen=True)
class _Opened:
    """An opened model, its outline with the model's name, and size and shape of its input."""

    model: Model
    outline: Outline
    size: ImageSize
    shape: tuple[int, ...]


def _opened(model: str | Module, imgsz: ImageSize | str | None, inputs: Any = None) -> _Opened:
    size = None if imgsz is None else read_image_size("imgsz", imgsz)
    opened = open_model(model, size, inputs)
    warn_of_assumed(model)
    check_imgsz(size, detector=isinstance(opened, LayoutModel))
    outline = replace(opened.outline, model=opened.name)
    if isinstance(opened, TracedModel):
        return _Opened(opened, outline, opened.size, opened.shape)
    graph = opened.graph
    if size is not None and graph.views:
        check_stride(size, graph.info.get("strides", ()))
    size = size or USUAL_SIZE
    return _Opened(opened, outline, size, image_shape(size, input_channels(graph)))


def _timed(result: CostResult, graph: Graph, outline: Outline, device: str, image: tuple[int, ...]) -> CostResult:
    from effscope.costing.roofline import with_times  # noqa: PLC0415

    if device != HERE:
        from effscope.costing.roofline import device as published  # noqa: PLC0415

        return with_times(result, graph, outline, published(device), image)
    from effscope.timing.peaks import this_machine  # noqa: PLC0415 - imports torch

    return with_times(result, graph, outline, this_machine(dtype=result.dtype), image, fused=False)


def counters(
    model: str | Module,
    imgsz: ImageSize | str | None = None,
    counter: str | None = None,
    check: bool = False,
    inputs: Any = None,
) -> CountersResult:
    """What other tools count for a model, and the terms that explain the difference: `effscope cost MODEL --as`,
    `--explain`, `--check`.

    Args:
        model: as in `cost`.
        imgsz: as in `cost`.
        counter: "paper", "fvcore", "thop", "ultralytics" or "torch"; default: all of them.
        check: also run fvcore, thop and torch's counter on the model and report their numbers. Needs the extra
            `crosscheck`, with a `counter` only this tool.
        inputs: as in `cost`; not with `check`.

    Raises:
        EffscopeError: bad input, weights of an unknown architecture, or a tool that is not installed.
    """
    from effscope.other_counters.compare import counters as compared  # noqa: PLC0415

    if check and inputs is not None:
        raise EffscopeError("`check` runs the other tools on one image: give `imgsz`, a size or a whole shape")
    if check:
        from effscope.other_counters.tools import check_installed  # noqa: PLC0415

        check_installed([counter] if counter else ())
    found = _opened(model, imgsz, inputs)
    opened, graph = found.model, found.model.graph
    if not graph.views:
        raise EffscopeError(f"{found.outline.model}: only its parameters are known, so no tool could count it")
    result = compared(graph, found.outline, found.size, [counter] if counter else (), found.shape)
    if not check:
        return result
    from effscope.other_counters.run import crosscheck  # noqa: PLC0415 - imports torch

    module = opened.module if isinstance(opened, TracedModel) else _inference(opened.network())
    return crosscheck(result, module, found.shape)


def _inference(network: Network) -> Network:
    from effscope.nn.build import view  # noqa: PLC0415 - imports torch

    return view(network, DECODED) if DECODED in network.spec.views else network


def scaled_cost(
    scale: str,
    phi: str = "0..3",
    depth: float = 1.2,
    width: float = 1.1,
    resolution: float = 1.15,
    imgsz: int | str | None = None,
) -> ScaleResult:
    """Compound scaling of a model: `effscope cost --scale`.

    Args:
        scale: zoo name or layout YAML.
        phi: exponents, `1..3` or `0,2`.
        depth: factor of the repeats per step.
        width: factor of the channels per step.
        resolution: factor of the image side per step.
        imgsz: side of the base's image in px; default 640.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.costing.scaling import scaling  # noqa: PLC0415

    side = square_side("imgsz", USUAL_SIZE if imgsz is None else read_image_size("imgsz", imgsz))
    check_imgsz(side)
    return scaling(open_model(scale).layout, ScaleConfig(scale, phi, depth, width, resolution, side))


def diff(a: str | Module, b: str | Module, imgsz: ImageSize | str | None = None) -> DiffResult:
    """Compare the cost of two models stage by stage, at one image size.

    Args:
        a: first model, as in `cost`.
        b: second model.
        imgsz: size of the image for both, as in `cost`; default 640, or the native size of `a`.

    Raises:
        EffscopeError: bad input, or weights of an unknown architecture.
    """
    from effscope.costing.model import difference  # noqa: PLC0415

    first = cost(a, imgsz)
    second = cost(b, first.imgsz if isinstance(first, CostResult) else imgsz)
    if not isinstance(first, CostResult) or not isinstance(second, CostResult):
        raise EffscopeError("only the parameters of one model are known: its stages cannot be compared")
    return difference(first, second)


def zoo(pattern: str = "", backbones: bool = False, progress: Progress | Auto | None = "auto") -> ZooResult:
    """The built-in models and their published figures.

    Args:
        pattern: only names that contain this text.
        backbones: classification backbones from torchvision and timm instead.
        progress: "auto" (a bar on a terminal and in a notebook), None, or called with the fraction done and a text.

    Raises:
        EffscopeError: no name contains the pattern.
    """
    from effscope.models.listing import list_backbones, list_zoo  # noqa: PLC0415

    with shown(progress, None) as (report, _):
        return list_backbones(report) if backbones else list_zoo(pattern, report)
