"""`latency` and `devices`: measured times of models, and the devices for predicted times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from effscope.api.keywords import with_settings
from effscope.api.progress_line import shown
from effscope.config import (
    ImageSize,
    LatencyConfig,
    LatencySettings,
    check_imgsz,
    check_names,
    check_stride,
    configured,
    read_image_size,
)
from effscope.errors import EffscopeError
from effscope.models.naming import look_up, warn_of_assumed
from effscope.models.open import USUAL_SIZE, open_model
from effscope.models.opened import LayoutModel, TracedModel
from effscope.progress import Auto, Progress

if TYPE_CHECKING:
    from torch.nn import Module

    from effscope.results import DevicesResult, LatencyResult


@with_settings(LatencyConfig, LatencySettings)
def latency(
    models: str | Module | Sequence[str | Module],
    imgsz: ImageSize | str | None = None,
    progress: Progress | Auto | None = "auto",
    inputs: Any = None,
    **settings: Unpack[LatencySettings],
) -> LatencyResult:
    """Measure the time of models on this machine, one image at a time, all models in each round: the forward pass,
    each stage, and post-processing at several numbers of objects; a roofline prediction is added.

    Args:
        models: one or more models, as in `cost`.
        imgsz: size of the image, as in `cost`; default: the native or training size of the first model, else 640.
        progress: "auto" (a bar on a terminal and in a notebook), None, or called with the fraction done and a text.
        inputs: arguments of the modules instead of one image, as in `cost`.
        settings: fields of `config.LatencyConfig`; `help` lists them.

    Raises:
        EffscopeError: bad input, or a model that cannot run.
    """
    given = [models] if isinstance(models, str) or not isinstance(models, Sequence) else list(models)
    if not given:
        raise EffscopeError("no model to time: give at least one")
    check_names(settings, LatencySettings.__annotations__)
    asked = None if imgsz is None else read_image_size("imgsz", imgsz)
    look_up(*given, weights_matter=False)
    warn_of_assumed(*given)
    first = open_model(given[0], asked, inputs)
    side = first.size if isinstance(first, TracedModel) else asked or first.imgsz or USUAL_SIZE
    opened = [first, *(open_model(model, side or None, inputs) for model in given[1:])]
    check_imgsz(side or None, detector=any(isinstance(model, LayoutModel) for model in opened))
    for graph in (model.graph for model in opened if isinstance(model, LayoutModel)):
        check_stride(side, graph.info.get("strides", ()))
    config = configured(LatencyConfig, {"imgsz": side, **settings})
    from effscope.timing.measure import latency as measured  # noqa: PLC0415 - imports torch

    with shown(progress, None) as (report, _):
        return measured(opened, config, report)


def devices() -> DevicesResult:
    """The devices that effscope predicts times for, with the source of every figure."""
    from effscope.costing.roofline import list_devices  # noqa: PLC0415

    return list_devices()
