"""Single convolutions and downsampling: Conv, SCDown, nearest upsampling, concatenation."""

from __future__ import annotations

from collections.abc import Sequence

from effscope.spec.emit import Emitter, Value


def conv(e: Emitter, x: Value, c_out: int, k: int = 1, s: int = 1) -> Value:
    """Conv2d without bias, BatchNorm, SiLU. Source: YOLOv8; k*k*c_in*c_out + 2*c_out parameters."""
    return e.unit(x, c_out, k, s)


def scdown(e: Emitter, x: Value, c_out: int, k: int = 3, s: int = 2) -> Value:
    """Decoupled downsampling: pointwise to c_out, then a depthwise k x k with the stride, no activation.

    Source: YOLOv10 (arXiv 2405.14458, section 3.2): 2C^2 + 18C weights for C -> 2C at k=3 against 18C^2.
    """
    return e.depthwise("cv2", e.conv("cv1", x, c_out), k, s, act=False)


def upsample(e: Emitter, x: Value, size: None = None, scale: int = 2, mode: str = "nearest") -> Value:
    """Enlarge height and width by an integer factor."""
    return e.node("upsample", "up", (x,), x.c, x.stride // scale, scale=scale, mode=mode)


def concat(e: Emitter, xs: Sequence[Value], dim: int = 1) -> Value:
    """Join several maps over channels."""
    return e.concat("cat", list(xs))
