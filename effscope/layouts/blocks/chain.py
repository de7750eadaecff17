"""A layer of a class without a block in effscope, as the chain of primitives in the file."""

from __future__ import annotations

from typing import Any

from effscope.errors import EffscopeError
from effscope.spec.emit import Emitter, Value

Link = tuple[Any, ...]
"""("conv2d", path, c_out, k, s, p, d, groups, bias), ("batchnorm", path, eps, momentum), ("maxpool", path, k, s, p), or
an activation ("silu", path). The path is relative to the layer."""


def chain(e: Emitter, x: Value, links: tuple[Link, ...], residual: bool = False) -> Value:
    """The links in series, plus the input if `residual`.

    For classes without a block in effscope (such as LeYOLO's inverted residuals), read from a pickled module tree.
    Raises EffscopeError for an unknown link, or a residual between unequal maps.
    """
    y = x
    for op, path, *rest in links:
        y = _link(e, y, op, path, rest)
    if not residual:
        return y
    if (y.c, y.stride) != (x.c, x.stride):
        raise EffscopeError(f"{e.path}: a residual needs equal maps, got {x.c} and {y.c} channels")
    return e.add("add", x, y)


def _link(e: Emitter, x: Value, op: str, path: str, rest: list[Any]) -> Value:
    match op, rest:
        case "conv2d", [c_out, k, s, p, d, groups, bias]:
            return e.node(
                "conv2d", path, (x,), c_out, x.stride * s[0],
                c_in=x.c, c_out=c_out, k=k, s=s, p=p, d=d, groups=groups, bias=bias, init="default", bias_init=None,
            )  # fmt: skip
        case "batchnorm", [eps, momentum]:
            return e.same("batchnorm", path, x, c=x.c, eps=eps, momentum=momentum, affine=True)
        case "maxpool", [k, s, p]:
            return e.pool("maxpool", path, x, k, s, p)
        case _, []:
            return e.act(x, op, path)
    raise EffscopeError(f"{e.path}: a chain cannot contain {(op, path, *rest)}")
