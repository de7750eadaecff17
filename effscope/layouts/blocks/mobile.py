"""Blocks of mobile networks: squeeze and excitation, mixed depthwise kernels, inverted residuals."""

from __future__ import annotations

from effscope.errors import EffscopeError
from effscope.layouts.blocks.convs import Act
from effscope.spec.emit import Emitter, Value, portion

Kernels = tuple[int, ...]
"""Kernel sides of a depthwise convolution; with several, each gets a group of channels."""


def shares(c: int, n: int) -> tuple[int, ...]:
    """Channels of n nearly equal groups; the first group takes the remainder. Raises EffscopeError for c < n."""
    if c < n:
        raise EffscopeError(f"{c} channels cannot be shared among {n} kernels")
    return (c - c // n * (n - 1), *[c // n] * (n - 1))


def mix_conv(e: Emitter, x: Value, kernels: Kernels = (3, 5), s: int = 1, act: Act = True) -> Value:
    """Depthwise conv unit with one kernel per channel group: sum over groups of c_i * k_i^2 weights.

    With one kernel it is a plain depthwise unit at this path. Source: MixConv (arXiv 1907.09595).
    """
    if len(kernels) == 1:
        return e.unit(x, x.c, kernels[0], s, groups=x.c, act=act)
    parts = e.split("groups", x, shares(x.c, len(kernels)))
    return e.concat(
        "cat", [e.depthwise(i, y, k, s, act=act) for i, (y, k) in enumerate(zip(parts, kernels, strict=True))]
    )


def squeeze_excite(e: Emitter, x: Value, ratio: int = 4, act: Act = True) -> Value:
    """Scale each channel by a gate that depends on the means of all channels; 2C^2/r weights and C/r + C biases.

    Source: arXiv 1709.01507; its two dense layers are pointwise convolutions of the pooled map.
    """
    return _gated(e, x, x.c // ratio or 1, act)


def _gated(e: Emitter, x: Value, c_squeeze: int, act: Act) -> Value:
    y = e.same("adaptive_avgpool", "avgpool", x, size=(1, 1))
    y = e.act(e.conv2d(y, c_squeeze, bias=True, name="fc1"), act)
    y = e.same("sigmoid", "gate", e.conv2d(y, x.c, bias=True, name="fc2"))
    return e.mul("scaled", x, y)


def linear_bottleneck(
    e: Emitter, x: Value, c_out: int, k: int = 3, s: int = 1, squeeze: int = 0, act: Act = "relu6"
) -> Value:
    """Depthwise k x k with activation, then a pointwise without: an inverted residual without expansion.

    Source: MobileNetV2 (arXiv 1801.04381).
    """
    return inverted_residual(e, x, c_out, k, s, 1, squeeze, act)


def inverted_residual(
    e: Emitter,
    x: Value,
    c_out: int,
    k: int = 3,
    s: int = 1,
    expansion: float = 6,
    squeeze: int = 0,
    act: Act = "relu6",
) -> Value:
    """Pointwise to expansion * c_in, depthwise k x k, linear pointwise to c_out, plus the input if shapes are equal.

    2eC^2 + k^2 eC weights for C -> C. With `squeeze` r, squeeze and excitation with c_in / r channels comes before the
    last pointwise (the MBConv of EfficientNet). Sources: MobileNetV2 (arXiv 1801.04381), arXiv 1905.11946.
    """
    hidden = portion(x.c, expansion)
    y = x if hidden == x.c else e.conv("expand", x, hidden, act=act)
    y = e.depthwise("depthwise", y, k, s, act=act)
    if squeeze:
        y = _gated(e.at("se"), y, x.c // squeeze or 1, act)
    y = e.conv("project", y, c_out, act=False)
    return e.add("add", x, y) if (y.c, y.stride) == (x.c, x.stride) else y


def mb_stage(
    e: Emitter,
    x: Value,
    expansion: float,
    k: int,
    s: int,
    c_out: int,
    depth: int = 1,
    squeeze: int = 4,
    act: Act = True,
) -> Value:
    """`depth` inverted residuals in series, the first with the stride. Channels are not scaled."""
    for i in range(depth):
        x = inverted_residual(e.at(i), x, c_out, k, s if i == 0 else 1, expansion, squeeze, act)
    return x
