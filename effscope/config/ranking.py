"""Settings of `effscope rank`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict

from effscope.config.checks import Checked, one_of
from effscope.config.image_size import ImageSize


@dataclass(frozen=True)
class RankConfig(Checked):
    """`effscope rank`: which convolutions are ranked, and which singular values count.

    `threshold` is a fraction of the largest singular value, or "energy:0.9", "eps" or "mp". `centred` subtracts
    the mean from activations.
    """

    at: str = "stage"
    threshold: float | str = 0.5
    fold_bn: bool = True
    centred: bool = True

    CHECKS: ClassVar = {"at": one_of("stage", "block", "all")}


class RankSettings(TypedDict, total=False):
    """Arguments of `effscope.ranks` except the models; see `effscope.rank`."""

    at: str
    threshold: float | str
    fold_bn: bool
    activations: str | None
    limit: int
    imgsz: ImageSize | str | None
    centred: bool
    inputs: Any
