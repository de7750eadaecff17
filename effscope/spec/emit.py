"""An emitter writes the primitive nodes of a block, at one module path of one layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from effscope.errors import EffscopeError
from effscope.spec.graph import Node
from effscope.spec.ops import OPS

BN_EPS, BN_MOMENTUM = 1e-3, 0.03
LEAKY, LEAKY_SLOPE = "leaky_relu", 0.1


@dataclass(frozen=True)
class Value:
    """A feature map of a graph under construction: name of its node, channels, stride relative to the image."""

    name: str
    c: int
    stride: int = 1


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """An int as a (height, width) pair."""
    return value if isinstance(value, tuple) else (value, value)


def portion(c: Any, ratio: float) -> Any:
    """Channels times a ratio, rounded down. For a SymPy symbol: exact, with the ratio as a fraction."""
    if isinstance(c, int):
        return int(c * ratio)
    from fractions import Fraction  # noqa: PLC0415 - only formulas need it

    exact = Fraction(ratio).limit_denominator(64)
    return c * exact.numerator // exact.denominator


class Emitter:
    """Appends nodes below one module path. `at` returns an emitter one level deeper that shares the node list."""

    def __init__(
        self,
        path: str,
        layer: str,
        nodes: list[Node],
        views: dict[str, tuple[str, ...]],
        info: dict[str, Any],
        activation: str = "silu",
    ):
        self.path, self.layer, self.nodes, self.views, self.info = path, layer, nodes, views, info
        self.activation = activation

    def at(self, *names: object) -> Emitter:
        """An emitter at `path.name...`."""
        path = ".".join([self.path, *map(str, names)])
        return Emitter(path, self.layer, self.nodes, self.views, self.info, self.activation)

    def node(self, op: str, name: str, inputs: tuple[Value, ...], c: int, stride: int, /, **args: Any) -> Value:
        """Append one node `path.name` (or `path` if the name is empty); `args` are all arguments of the op."""
        kind = OPS[op]
        if args.keys() != kind.takes:
            raise TypeError(f"{op} takes {kind.arguments}, got {tuple(args)}")
        full = f"{self.path}.{name}" if name else self.path
        params = tuple([(role, f"{full}.{role}" if role else full) for role in kind.tensors(args)])
        self.nodes.append(Node(full, op, tuple([v.name for v in inputs]), args, self.layer, params))
        return Value(full, c, stride)

    def conv2d(
        self,
        x: Value,
        c_out: int,
        k: int | tuple[int, int] = 1,
        s: int | tuple[int, int] = 1,
        *,
        p: int | tuple[int, int] | None = None,
        groups: int = 1,
        d: int = 1,
        bias: bool = False,
        init: str = "default",
        bias_init: float | None = None,
        name: str = "conv",
    ) -> Value:
        """Only a convolution; padding k//2 by default. Raises EffscopeError if `groups` do not divide the channels."""
        k, s = pair(k), pair(s)
        p = (k[0] // 2, k[1] // 2) if p is None else pair(p)
        if x.c % groups or c_out % groups:
            raise EffscopeError(f"{self.path}: {groups} groups do not divide {x.c} -> {c_out} channels")
        return self.node(
            "conv2d", name, (x,), c_out, x.stride * s[0],
            c_in=x.c, c_out=c_out, k=k, s=s, p=p, d=(d, d), groups=groups, bias=bias, init=init, bias_init=bias_init,
        )  # fmt: skip

    def norm(self, x: Value, name: str = "bn") -> Value:
        """Batch norm with the epsilon and momentum of the YOLO families."""
        return self.same("batchnorm", name, x, c=x.c, eps=BN_EPS, momentum=BN_MOMENTUM, affine=True)

    def act(self, x: Value, act: bool | str = True, name: str = "act") -> Value:
        """An activation. True: the model's default; False: none; else its name (`LEAKY` has a slope of 0.1)."""
        kind = self.activation if act is True else act
        if not kind:
            return x
        return self.same(kind, name, x, slope=LEAKY_SLOPE) if kind == LEAKY else self.same(kind, name, x)

    def unit(
        self,
        x: Value,
        c_out: int,
        k: int | tuple[int, int] = 1,
        s: int = 1,
        *,
        p: int | None = None,
        groups: int = 1,
        act: bool | str = True,
    ) -> Value:
        """Conv2d without bias, BatchNorm and an activation (see `act`) at this path."""
        return self.act(self.norm(self.conv2d(x, c_out, k, s, p=p, groups=groups)), act)

    def conv(
        self,
        name: object,
        x: Value,
        c_out: int,
        k: int | tuple[int, int] = 1,
        s: int = 1,
        *,
        p: int | None = None,
        groups: int = 1,
        act: bool | str = True,
    ) -> Value:
        """A `unit` at `path.name`."""
        return self.at(name).unit(x, c_out, k, s, p=p, groups=groups, act=act)

    def depthwise(self, name: object, x: Value, k: int, s: int = 1, *, act: bool | str = True) -> Value:
        """A conv unit with one filter per channel."""
        return self.conv(name, x, x.c, k, s, groups=x.c, act=act)

    def parameter(self, name: str, shape: tuple[int, ...], value: float) -> Value:
        """A trained tensor that belongs to no module, filled with `value`; its state-dict key is `path.name`."""
        return self.node("parameter", name, (), shape[0], 1, shape=shape, value=value)

    def same(self, op: str, name: str, x: Value, **args: Any) -> Value:
        """A node that keeps channels and stride."""
        return self.node(op, name, (x,), x.c, x.stride, **args)

    def add(self, name: str, a: Value, b: Value) -> Value:
        """Elementwise sum of two equal shapes."""
        return self.node("add", name, (a, b), a.c, a.stride)

    def pool(self, op: str, name: str, x: Value, k: int, s: int = 1, p: int | None = None) -> Value:
        """A "maxpool" or "avgpool"; padding k//2 by default."""
        return self.node(op, name, (x,), x.c, x.stride * s, k=k, s=s, p=k // 2 if p is None else p, ceil=False)

    def mul(self, name: str, a: Value, b: Value) -> Value:
        """Elementwise product; `b` may be broadcast onto `a`."""
        return self.node("mul", name, (a, b), a.c, a.stride)

    def concat(self, name: str, xs: list[Value]) -> Value:
        """Concatenation over channels. Raises EffscopeError when the strides differ."""
        if len({x.stride for x in xs}) > 1:
            raise EffscopeError(f"{self.path}: joins maps of strides {', '.join(str(x.stride) for x in xs)}")
        return self.node("concat", name, tuple(xs), sum(x.c for x in xs), xs[0].stride, dim=1)

    def split(self, name: str, x: Value, sizes: tuple[int, ...]) -> list[Value]:
        """Split over channels into parts of the given sizes."""
        whole = self.node("split", name, (x,), x.c, x.stride, dim=1, sizes=sizes)
        return [self.node("item", f"{name}_{i}", (whole,), c, x.stride, index=i) for i, c in enumerate(sizes)]
