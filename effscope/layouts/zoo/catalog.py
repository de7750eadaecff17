"""The built-in models by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from effscope.errors import unknown
from effscope.layouts.zoo import efficientnet, rtdetr, yolo11, yolov3, yolov5, yolov6, yolov8, yolov9, yolov10, yolox
from effscope.spec.layout import Layout

Make = Callable[[int], Layout]


def _sizes(stem: str, scales: str, make: Callable[[str, int], Layout], tail: str = "") -> dict[str, Make]:
    """One entry per scale letter."""
    return {f"{stem}{scale}{tail}": partial(make, scale) for scale in scales}


def _forms(stem: str, forms: Iterable[str], scales: str, make: Callable[..., Layout]) -> dict[str, Make]:
    """One entry per scale letter and form."""
    return {f"{stem}{scale}{form}": partial(make, scale, form=form) for form in forms for scale in scales}


ZOO: dict[str, Make] = {
    **_forms("yolov8", yolov8.FORMS, "nsmlx", yolov8.yolov8),
    **_sizes("yolov10", "nsmblx", yolov10.yolov10),
    **{f"yolov3{form}": partial(yolov3.yolov3, form) for form in yolov3.FORMS},
    **_forms("yolov5", ("", "-p6"), "nsmlx", yolov5.yolov5),
    **_sizes("yolov6", "nsmlx", yolov6.yolov6),
    **_sizes("yolov9", "tsmce", yolov9.yolov9),
    **_sizes("yolo11", "nsmlx", yolo11.yolo11),
    **_sizes("yolo12", "nsmlx", yolo11.yolo12),
    **_forms("yolo26", yolo11.FORMS_26, "nsmlx", yolo11.yolo26),
    **{f"rtdetr{form}": partial(rtdetr.rtdetr, form) for form in rtdetr.FORMS},
    **_sizes("yolov8", "nsmlx", rtdetr.yolov8_rtdetr, "-rtdetr"),
    **{f"yolox-{size}": partial(yolox.yolox, size) for size in yolox.SCALES},
    **{f"yolox-nano{variant or '-voc'}": partial(yolox.study, variant) for variant in yolox.VARIANTS},
    **{f"efficientnet-{size}-yolov8": partial(efficientnet.efficientnet_yolov8, size) for size in efficientnet.SIZES},
}
"""Name (the file stem of Ultralytics' YAML) -> function from the number of classes to the layout."""

ALIASES = {f"yolov5{scale}u": f"yolov5{scale}" for scale in "nsmlx"}
"""Other name -> name in ZOO."""


def layout(name: str, nc: int = 80) -> Layout:
    """A built-in layout. Raises EffscopeError for an unknown name."""
    known = ALIASES.get(name, name)
    if known not in ZOO:
        raise unknown("model", name, ZOO)
    return ZOO[known](nc)
