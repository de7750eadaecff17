"""`cost`, `scaled_cost`, `diff` and `zoo`: what models cost. For zoo names and YAML no torch is imported."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from effscope.config import ScaleConfig, check
from effscope.errors import EffscopeError
from effscope.models import open_layout
from effscope.progress import Progress, silent
from effscope.results import CostResult

if TYPE_CHECKING:
    from torch.nn import Module

    from effscope.results import DiffResult, ScaleResult, TensorsResult, ZooResult


def cost(model: str | Module, imgsz: int | None = None) -> CostResult | TensorsResult:
    """Exact parameters, MACs, FLOPs and bytes of a model on one square image; parameters alone of weights whose
    architecture is not known. Imports no torch for zoo names and YAML.

    Args:
        model: zoo name, layout YAML, weights file, run folder, torchvision:NAME, timm:NAME, or a torch module.
        imgsz: side of the image in px; by default 640, for torchvision and timm what the model is made for.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.costing.estimate import cost_graph, cost_of_tensors  # noqa: PLC0415

    check({"imgsz": imgsz}, detector=False)
    opened = open_layout(model, imgsz)
    check({"imgsz": imgsz}, detector=opened.architecture is not None)
    side = imgsz or (opened.imgsz if opened.module is not None and opened.imgsz else 640)
    outline = replace(opened.outline, model=opened.name)
    graph = opened.graph
    return cost_graph(graph, outline, side) if graph.views else cost_of_tensors(graph, outline)


def scaled_cost(
    scale: str,
    phi: str = "0..3",
    depth: float = 1.2,
    width: float = 1.1,
    resolution: float = 1.15,
    imgsz: int | None = None,
) -> ScaleResult:
    """Compound scaling of a model: `effscope cost --scale`.

    Args:
        scale: zoo name or layout YAML.
        phi: exponents, `1..3` or `0,2`.
        depth: repeats grow by it each step.
        width: channels grow by it each step.
        resolution: the image side grows by it each step.
        imgsz: side of the base's image in px, 640 unless given.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.costing.scaling import scaling  # noqa: PLC0415

    check({"imgsz": imgsz})
    return scaling(open_layout(scale).layout, ScaleConfig(scale, phi, depth, width, resolution, imgsz or 640))


def diff(a: str | Module, b: str | Module, imgsz: int | None = None) -> DiffResult:
    """What each stage costs in one model and in another, at one image size.

    Args:
        a: a MODEL, as `cost` takes it.
        b: another one.
        imgsz: side of the image in px for both; by default 640, or what `a` is made for.

    Raises:
        EffscopeError: bad input, in one line; a model of which only tensors are known.
    """
    from effscope.costing.difference import difference  # noqa: PLC0415

    first = cost(a, imgsz)
    second = cost(b, first.imgsz if isinstance(first, CostResult) else imgsz)
    if not isinstance(first, CostResult) or not isinstance(second, CostResult):
        raise EffscopeError("only parameters are known of one of them: its stages cannot be compared")
    return difference(first, second)


def zoo(pattern: str = "", backbones: bool = False, progress: Progress = silent) -> ZooResult:
    """The built-in models beside their published figures.

    Args:
        pattern: only names that contain this text.
        backbones: the classification backbones of the notes instead, imported from torchvision and timm.
        progress: told the fraction done and a text.

    Raises:
        EffscopeError: no name contains the pattern.
    """
    from effscope.costing.listing import list_backbones, list_zoo  # noqa: PLC0415

    return list_backbones(progress) if backbones else list_zoo(pattern, progress)
