"""`rank` and `ranks`: the numerical rank of a model's stages."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, Unpack

from effscope.api.keywords import with_keywords
from effscope.api.progress_line import shown
from effscope.config import (
    ImageSize,
    RankConfig,
    RankSettings,
    at_least,
    check_imgsz,
    check_names,
    read_image_size,
    square_side,
)
from effscope.data.naming import look_up_data
from effscope.errors import EffscopeError, counted
from effscope.models.naming import look_up
from effscope.models.open import USUAL_SIZE, open_model
from effscope.models.opened import LayoutModel, colour_model
from effscope.progress import Auto, Parts, Progress, Say, silent
from effscope.thresholds import read_threshold

if TYPE_CHECKING:
    from torch.nn import Module

    from effscope.results import RankResult


def rank(
    model: str | Module,
    at: str = "stage",
    threshold: float | str = 0.5,
    fold_bn: bool = True,
    activations: str | None = None,
    limit: int = 64,
    imgsz: ImageSize | str | None = None,
    centred: bool = True,
    progress: Progress | Auto | None = "auto",
    say: Say | Auto | None = "auto",
    inputs: Any = None,
) -> RankResult:
    """Numerical rank of each stage of a model, in ascending order.

    Args:
        model: zoo name, layout YAML, weights file, run folder, torchvision:NAME, timm:NAME, or a torch module.
        at: "stage" (the stage's closing conv), "block" (the last conv of its last block) or "all" convolutions.
        threshold: singular values above this fraction of the largest count; or "energy:0.9" (the fewest with this
            share of the sum of squares), "eps" (above rounding in the stored dtype), "mp" (above the Marchenko-Pastur
            edge of noise).
        fold_bn: fold the batch norm into the weight first.
        activations: a data set: rank the outputs for its images instead of the weights, and measure the heads of
            attention layers.
        limit: number of its images, spread evenly over the train split.
        imgsz: side of these images in px; default: the size in training, else 640. For a torch module or hub model
            also the size at which it is traced: a side, (height, width), or a whole shape.
        centred: subtract the mean from the activations.
        progress: "auto" (a bar on a terminal and in a notebook), None, or called with the fraction done and a text.
        say: "auto" (lines above the bar, if there is one), None, or called with each fault of the data.
        inputs: arguments of a torch module instead of one image, as in `cost`.

    Raises:
        EffscopeError: bad input, in one line.
    """
    at_least(1)("limit", limit)
    size = None if imgsz is None else read_image_size("imgsz", imgsz)
    if activations is None and not centred:
        raise EffscopeError("`centred` applies to activations only: give `activations`, a data set")
    config = RankConfig(at, read_threshold(threshold).spelling, fold_bn, centred)
    look_up(model)
    if activations is not None:
        look_up_data(activations)
    opened = open_model(model, size, inputs)
    check_imgsz(size, detector=isinstance(opened, LayoutModel))
    from effscope.ranking.models import rank_model  # noqa: PLC0415 - imports torch

    images, of = None, "weights"
    weights = "random" if opened.state is None else "checkpoint"
    with shown(progress if activations else None, say) as (report, tell):
        if activations is not None:
            from effscope.detect.images import training_images  # noqa: PLC0415

            side = square_side("imgsz", size or opened.imgsz or USUAL_SIZE)
            colour_model(opened)
            images = training_images(activations, limit, side, report, tell)
            of = f"activations over {counted(len(images), 'training image')} of {activations} at {side} px"
        return rank_model(opened, config, weights=weights, of=of, images=images)


@with_keywords(signature(rank).parameters[name] for name in RankSettings.__annotations__)
def ranks(
    models: str | Module | Sequence[str | Module],
    progress: Progress | Auto | None = "auto",
    say: Say | Auto | None = "auto",
    **settings: Unpack[RankSettings],
) -> tuple[RankResult, ...]:
    """Rank several models, like `effscope rank A B ...`. `stability` of a result holds the orders of the other models.

    Models with the same name are named by the argument (`runs/a/best.pt`).

    Args:
        models: one or more models, as in `rank`.
        progress: as in `rank`.
        say: as in `rank`.
        settings: further arguments of `rank`, the same for all.

    Raises:
        EffscopeError: bad input, in one line.
    """
    models = [models] if isinstance(models, str) or not isinstance(models, Sequence) else models
    if not models:
        raise EffscopeError("no model to rank: give at least one")
    look_up(*models)
    check_names(settings, RankSettings.__annotations__)
    from effscope.ranking.stability import with_distinct_names, with_other_models  # noqa: PLC0415 - imports numpy

    with shown(progress, say) as (report, tell):
        parts = Parts(report if settings.get("activations") else silent, len(models))
        found = [rank(model, progress=parts.part(1, str(model)), say=tell, **settings) for model in models]
    return with_other_models(with_distinct_names(found, [str(model) for model in models]))
