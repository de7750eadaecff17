"""`rank` and `ranks`: the numerical rank of a model's stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from effscope.config import (
    ImageSize,
    RankConfig,
    RankSettings,
    at_least,
    check_imgsz,
    read_image_size,
    square_side,
)
from effscope.errors import EffscopeError, unknown
from effscope.models.open import USUAL_SIZE, open_model
from effscope.models.opened import LayoutModel, colour_model
from effscope.progress import Parts, Progress, Say, silent, unsaid
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
    progress: Progress = silent,
    say: Say = unsaid,
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
        progress: called with the fraction done and a text.
        say: called with the faults of the data.
        inputs: arguments of a torch module instead of one image, as in `cost`.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.ranking.models import rank_model  # noqa: PLC0415 - imports torch

    at_least(1)("limit", limit)
    size = None if imgsz is None else read_image_size("imgsz", imgsz)
    if activations is None and not centred:
        raise EffscopeError("`centred` applies to activations only: give `activations`, a data set")
    config = RankConfig(at, read_threshold(threshold).spelling, fold_bn, centred)
    opened = open_model(model, size, inputs)
    check_imgsz(size, detector=isinstance(opened, LayoutModel))
    images, of = None, "weights"
    if activations is not None:
        from effscope.detect.images import training_images  # noqa: PLC0415

        side = square_side("imgsz", size or opened.imgsz or USUAL_SIZE)
        colour_model(opened)
        images = training_images(activations, limit, side, progress, say)
        of = f"activations over {len(images)} training images of {activations} at {side} px"
    weights = "random" if opened.state is None else "checkpoint"
    return rank_model(opened, config, weights=weights, of=of, images=images)


def ranks(
    models: Sequence[str | Module], progress: Progress = silent, say: Say = unsaid, **settings: Unpack[RankSettings]
) -> tuple[RankResult, ...]:
    """Rank several models, like `effscope rank A B ...`. `stability` of a result holds the orders of the other models.

    Models with the same name are named by the argument (`runs/a/best.pt`).

    Args:
        models: one or more models, as in `rank`.
        progress: called with the fraction done and a text.
        say: called with faults of the data.
        settings: further arguments of `rank`, the same for all.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.ranking.stability import with_distinct_names, with_other_models  # noqa: PLC0415 - imports numpy

    if not models:
        raise EffscopeError("no model to rank: give at least one")
    for name in settings:
        if name not in RankSettings.__annotations__:
            raise unknown("setting", name, RankSettings.__annotations__)
    parts = Parts(progress if settings.get("activations") else silent, len(models))
    found = [rank(model, progress=parts.part(1, str(model)), say=say, **settings) for model in models]
    return with_other_models(with_distinct_names(found, [str(model) for model in models]))
