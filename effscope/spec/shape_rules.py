"""Shape rules of the primitives: functions from arguments and input shapes to the output shape. No torch.

Sides may be SymPy symbols, so a rule compares them only if they are whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from effscope.errors import EffscopeError

Shape = tuple[Any, ...]  # ints, or SymPy symbols for a formula
Args = Mapping[str, Any]


def same(args: Args, inputs: Sequence[Shape]) -> Shape:
    """The shape of the first input."""
    return inputs[0]


def window(size: Any, k: int, s: int, p: int, d: int = 1) -> Any:
    """Length of one side after a sliding window, as in torch. Raises EffscopeError if the kernel does not fit."""
    length = (size + 2 * p - d * (k - 1) - 1) // s + 1
    if isinstance(length, int) and length < 1:
        raise EffscopeError(f"a kernel of {k} does not fit a side of {size} with padding {p}")
    return length


def conv2d(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(B, c_in, H, W) -> (B, c_out, H', W'). Raises EffscopeError for other channels."""
    b, c, h, w = inputs[0]
    if c != args["c_in"]:
        raise EffscopeError(f"a convolution for {args['c_in']} channels got {c}")
    k, s, p, d = args["k"], args["s"], args["p"], args["d"]
    return (b, args["c_out"], window(h, k[0], s[0], p[0], d[0]), window(w, k[1], s[1], p[1], d[1]))


def conv2d_given(args: Args, inputs: Sequence[Shape]) -> Shape:
    """A convolution with weights (and bias) that other nodes compute: they are its inputs."""
    weight = inputs[1]
    sizes = {"c_in": weight[1] * args["groups"], "c_out": weight[0], "k": weight[2:]}
    return conv2d({**args, **sizes}, inputs[:1])


def conv_transpose2d(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(B, c_in, H, W) -> (B, c_out, H', W'). Raises EffscopeError for other channels."""
    b, c, h, w = inputs[0]
    if c != args["c_in"]:
        raise EffscopeError(f"a transposed convolution for {args['c_in']} channels got {c}")
    sides = zip((h, w), args["k"], args["s"], args["p"], args["op"], args["d"], strict=True)
    return (b, args["c_out"], *((n - 1) * s - 2 * p + d * (k - 1) + op + 1 for n, k, s, p, op, d in sides))


def linear(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(..., c_in) -> (..., c_out). Raises EffscopeError for other features."""
    *lead, c = inputs[0]
    if c != args["c_in"]:
        raise EffscopeError(f"a linear layer for {args['c_in']} features got {c}")
    return (*lead, args["c_out"])


def anchor2box(args: Args, inputs: Sequence[Shape]) -> Shape:
    """Boxes of every anchor of every cell, (B, 4, A), from logits (B, 4, A); the other inputs are the levels."""
    return inputs[0]


def posembed2d(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(B, C, H, W) -> (1, H*W, c)."""
    _, _, h, w = inputs[0]
    return (1, h * w, args["c"])


def pool(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(B, C, H, W) -> (B, C, H', W')."""
    b, c, h, w = inputs[0]
    k, s, p, ceil = args["k"], args["s"], args["p"], args["ceil"]
    return (b, c, *(_rounded_up(n, k, s, p) if ceil else window(n, k, s, p) for n in (h, w)))


def _rounded_up(size: int, k: int, s: int, p: int) -> int:
    """Length of a side if the last window may end outside the padded map (ceil mode); it must begin inside the map."""
    length = -(-(size + 2 * p - k) // s) + 1
    return length - 1 if (length - 1) * s >= size + p else length


def indices(equation: str, inputs: Sequence[Shape]) -> dict[str, Any]:
    """Length of every index of an einsum. Raises EffscopeError if two inputs have different lengths for one index."""
    lengths: dict[str, Any] = {}
    for letters, shape in zip(equation.split("->", maxsplit=1)[0].split(","), inputs, strict=True):
        for letter, n in zip(letters, shape, strict=True):
            if lengths.setdefault(letter, n) != n:
                raise EffscopeError(f"einsum {equation}: index {letter} has the lengths {lengths[letter]} and {n}")
    return lengths


def einsum(args: Args, inputs: Sequence[Shape]) -> Shape:
    """The lengths of the indices of the result."""
    lengths = indices(args["equation"], inputs)
    return tuple(lengths[letter] for letter in args["equation"].split("->")[1])


def reduced(args: Args, inputs: Sequence[Shape]) -> Shape:
    """The shape without the reduced dimensions; with `keep` they have length 1."""
    shape, dims = inputs[0], args["dims"]
    if args["keep"]:
        return tuple(1 if i in dims else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in dims)


def sdpa(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(..., N, C), (..., M, C), (..., M, D) -> (..., N, D). Raises EffscopeError for other shapes."""
    q, k, v = inputs[:3]
    if q[-1] != k[-1] or k[-2] != v[-2]:
        raise EffscopeError(f"shapes of queries, keys and values do not fit: {q}, {k}, {v}")
    return (*q[:-1], v[-1])


def fixed_size(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(B, C, H, W) -> (B, C, *size)."""
    b, c, _, _ = inputs[0]
    return (b, c, *args["size"])


def pad(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(B, C, H, W) -> (B, C, H + top + bottom, W + left + right)."""
    b, c, h, w = inputs[0]
    left, right, top, bottom = args["sides"]
    return (b, c, h + top + bottom, w + left + right)


def upsample(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(B, C, H, W) -> (B, C, H * scale, W * scale)."""
    b, c, h, w = inputs[0]
    return (b, c, h * args["scale"], w * args["scale"])


def resize_as(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(B, C, H, W) -> (B, C, height and width of the reference)."""
    (b, c, _, _), reference = inputs
    return (b, c, *reference[2:])


def reshape_as(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(B, C, H*W) -> (B, C, H, W), with H and W of the reference. Raises EffscopeError for another size."""
    (b, c, n), reference = inputs
    h, w = reference[2:]
    if n != h * w:
        raise EffscopeError(f"{n} positions do not fill a map of {h} x {w}")
    return (b, c, h, w)


def windows(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(B, windows, C, positions of a window); sides are padded to a multiple of the window."""
    b, c, h, w = inputs[0]
    size = args["size"]
    return (b, -(-h // size) * -(-w // size), c, size * size)


def unwindow(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(B, windows, C, positions) -> (B, C, height and width of the reference)."""
    (b, _, c, _), reference = inputs
    return (b, c, *reference[2:])


def space_to_depth(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(B, C, H, W) -> (B, 4 * C, H / 2, W / 2). Raises EffscopeError for odd sides."""
    b, c, h, w = inputs[0]
    if isinstance(h, int) and (h % 2 or w % 2):
        raise EffscopeError(f"space to depth needs even sides, got {h} x {w}")
    return (b, 4 * c, h // 2, w // 2)


def matmul(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(..., N, K), (..., K, M) -> (..., N, M). Raises EffscopeError for other shapes."""
    a, b = inputs
    if a[-1] != b[-2]:
        raise EffscopeError(f"a matrix product of shapes that do not fit: {a}, {b}")
    return (*broadcast(a[:-2], b[:-2]), a[-2], b[-1])


def attention(args: Args, inputs: Sequence[Shape]) -> Shape:
    """(..., C, N), (..., C, N), (..., D, N) -> (..., D, N). Raises EffscopeError for other shapes."""
    q, k, v = inputs
    if q[:-1] != k[:-1] or k[-1] != v[-1]:
        raise EffscopeError(f"shapes of queries, keys and values do not fit: {q}, {k}, {v}")
    return (*v[:-1], q[-1])


def broadcast(a: Shape, b: Shape) -> Shape:
    """The common shape of two shapes, as torch broadcasts them. Raises EffscopeError if they have none."""
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    padded = (1,) * (len(long) - len(short)) + tuple(short)
    if any(m != n and 1 not in (m, n) for m, n in zip(long, padded, strict=True)):
        raise EffscopeError(f"shapes that cannot be broadcast: {a}, {b}")
    return tuple(n if m == 1 else m for m, n in zip(long, padded, strict=True))


def equal(args: Args, inputs: Sequence[Shape]) -> Shape:
    """The common shape of all inputs. Raises EffscopeError if they differ."""
    if any(shape != inputs[0] for shape in inputs):
        raise EffscopeError(f"a sum of unequal shapes {', '.join(map(str, inputs))}")
    return inputs[0]


def product(args: Args, inputs: Sequence[Shape]) -> Shape:
    """The broadcast shape of two inputs. Raises EffscopeError if there is none."""
    return broadcast(inputs[0], inputs[1])


def concat(args: Args, inputs: Sequence[Shape]) -> Shape:
    """The sum of the lengths in `dim`. Raises EffscopeError if other dimensions differ."""
    dim = args["dim"]
    first = inputs[0]
    for shape in inputs:
        if shape[:dim] != first[:dim] or shape[dim + 1 :] != first[dim + 1 :]:
            raise EffscopeError(f"a concatenation of shapes that differ: {', '.join(map(str, inputs))}")
    return (*first[:dim], sum(shape[dim] for shape in inputs), *first[dim + 1 :])


def split(args: Args, inputs: Sequence[Shape]) -> tuple[Shape, ...]:
    """One shape per size, with this size in `dim`."""
    dim, shape = args["dim"], inputs[0]
    return tuple((*shape[:dim], size, *shape[dim + 1 :]) for size in args["sizes"])


def item(args: Args, inputs: Sequence[Any]) -> Shape:
    """The shape of one output of a split."""
    return tuple(inputs[0][args["index"]])


def flatten(args: Args, inputs: Sequence[Shape]) -> Shape:
    """Dimensions `start` to `end` as one."""
    start, end, shape = args["start"], args["end"], inputs[0]
    return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])


def unflatten(args: Args, inputs: Sequence[Shape]) -> Shape:
    """Dimension `dim` divided into `sizes`; -1 is the rest. Raises EffscopeError if they do not fit."""
    dim, shape, sizes = args["dim"], inputs[0], args["sizes"]
    rest = math.prod(n for n in sizes if n != -1)
    whole = tuple(shape[dim] // rest if n == -1 else n for n in sizes)
    if math.prod(whole) != shape[dim]:
        raise EffscopeError(f"{shape[dim]} positions cannot be divided into {' x '.join(map(str, sizes))}")
    return (*shape[:dim], *whole, *shape[dim + 1 :])


def transpose(args: Args, inputs: Sequence[Shape]) -> Shape:
    """The shape with two dimensions swapped."""
    shape = list(inputs[0])
    a, b = args["dims"]
    shape[a], shape[b] = shape[b], shape[a]
    return tuple(shape)
