"""Calls of every primitive: its arguments and the shapes of its inputs."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from effscope.spec.ops import POINTWISE, Slot, TensorSpec

Call = tuple[dict[str, Any], list[tuple[int, ...]]]  # arguments and input shapes

SIDE = st.integers(1, 9)
SMALL = st.integers(1, 6)


@st.composite
def feature_map(draw: st.DrawFn, least: int = 1) -> tuple[int, ...]:
    return (draw(st.integers(1, 2)), draw(SMALL), draw(st.integers(least, 12)), draw(st.integers(least, 12)))


@st.composite
def conv2d(draw: st.DrawFn) -> Call:
    groups, k, d = draw(st.integers(1, 3)), (draw(st.integers(1, 4)), draw(st.integers(1, 4))), draw(st.integers(1, 2))
    shape = draw(feature_map(8))
    args: dict[str, Any] = {
        "c_in": groups * draw(st.integers(1, 3)), "c_out": groups * draw(st.integers(1, 3)), "k": k,
        "s": (draw(st.integers(1, 3)), draw(st.integers(1, 3))), "d": (d, d),
        "p": (draw(st.integers(0, 3)), draw(st.integers(0, 3))),
        "groups": groups, "bias": draw(st.booleans()), "init": "default",
        "bias_init": draw(st.sampled_from([None, 2.0])),
    }  # fmt: skip
    return args, [(shape[0], args["c_in"], *shape[2:])]


@st.composite
def conv_transpose2d(draw: st.DrawFn) -> Call:
    groups, s, k = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    shape = draw(feature_map(3))
    args: dict[str, Any] = {
        "c_in": groups * draw(st.integers(1, 3)), "c_out": groups * draw(st.integers(1, 3)), "k": (k, k), "s": (s, s),
        "p": (0, 0), "op": (s - 1, s - 1), "d": (1, 1), "groups": groups, "bias": draw(st.booleans()),
    }  # fmt: skip
    return args, [(shape[0], args["c_in"], *shape[2:])]


@st.composite
def maxpool(draw: st.DrawFn) -> Call:
    k = draw(st.integers(1, 5))
    args = {"k": k, "s": draw(st.integers(1, 3)), "p": draw(st.integers(0, k // 2)), "ceil": draw(st.booleans())}
    return args, [draw(feature_map(5))]


@st.composite
def joined(draw: st.DrawFn) -> Call:
    dim, shape = draw(st.integers(1, 3)), draw(feature_map())
    sizes = draw(st.lists(SMALL, min_size=1, max_size=3))
    return {"dim": dim}, [(*shape[:dim], n, *shape[dim + 1 :]) for n in sizes]


@st.composite
def split(draw: st.DrawFn) -> Call:
    dim, shape, sizes = (
        draw(st.integers(1, 3)),
        draw(feature_map()),
        tuple(draw(st.lists(SMALL, min_size=1, max_size=3))),
    )
    return {"dim": dim, "sizes": sizes}, [(*shape[:dim], sum(sizes), *shape[dim + 1 :])]


@st.composite
def unflatten(draw: st.DrawFn) -> Call:
    sizes = (draw(SMALL), draw(SMALL))
    return {"dim": 1, "sizes": sizes}, [(2, sizes[0] * sizes[1], draw(SIDE))]


@st.composite
def dist2box(draw: st.DrawFn) -> Call:
    sides = draw(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=3))
    args = {
        "strides": tuple(8 * 2**i for i in range(len(sides))),
        "box_format": draw(st.sampled_from(["xywh", "xyxy"])),
    }
    anchors = sum(h * w for h, w in sides)
    return args, [(2, 4, anchors), *((2, 7, h, w) for h, w in sides)]


def one_map(**args: Any) -> st.SearchStrategy[Call]:
    return feature_map().map(lambda shape: (args, [shape]))


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "input": one_map(c=3),
    "conv2d": conv2d(),
    "parameter": st.tuples(SMALL, SMALL).map(lambda s: ({"shape": s, "value": 0.5}, [])),
    "conv2d_given": st.tuples(conv2d(), st.booleans()).map(
        lambda t: (
            {key: t[0][0][key] for key in ("s", "p", "d", "groups")},
            [t[0][1][0], (t[0][0]["c_out"], t[0][0]["c_in"] // t[0][0]["groups"], *t[0][0]["k"])]
            + [(t[0][0]["c_out"],)] * t[1],
        )
    ),
    "conv_transpose2d": conv_transpose2d(),
    "linear": st.tuples(SMALL, SMALL, st.booleans()).map(
        lambda t: ({"c_in": t[0], "c_out": t[1], "bias": t[2]}, [(2, 5, t[0])])
    ),
    "matmul": st.tuples(SMALL, SMALL, SMALL).map(lambda t: ({}, [(2, t[0], t[1]), (2, t[1], t[2])])),
    "attention": st.tuples(SMALL, SMALL, SMALL, SMALL).map(
        lambda t: ({"scale": 0.5}, [(2, 3, t[0], t[1]), (2, 3, t[0], t[2]), (2, 3, t[3], t[2])])
    ),
    "mha": st.tuples(SMALL, st.integers(1, 3), SMALL).map(
        lambda t: ({"c": t[0] * t[1], "heads": t[1]}, [(2, t[2], t[0] * t[1])] * 3)
    ),
    "batchnorm": feature_map().map(lambda s: ({"c": s[1], "eps": 1e-3, "momentum": 0.03, "affine": s[2] > 5}, [s])),
    "layernorm": feature_map().map(lambda s: ({"c": s[3], "eps": 1e-6, "affine": s[2] > 5}, [s])),
    "groupnorm": feature_map(2).map(lambda s: ({"c": s[1], "groups": 1, "eps": 1e-5, "affine": s[2] > 5}, [s])),
    **{name: one_map() for name in POINTWISE},
    "leaky_relu": one_map(slope=0.1),
    "softmax": one_map(dim=1),
    "maxpool": maxpool(),
    "avgpool": maxpool(),
    "adaptive_avgpool": st.tuples(SIDE, SIDE).flatmap(lambda size: one_map(size=size)),
    "pad": st.tuples(SIDE, SIDE, SIDE, SIDE).flatmap(lambda sides: one_map(sides=sides, value=1.0)),
    "resize_as": st.tuples(feature_map(), SIDE, SIDE).map(
        lambda t: ({"mode": "nearest"}, [t[0], (t[0][0], 3, t[1], t[2])])
    ),
    "windows": st.tuples(st.integers(1, 4), feature_map()).map(lambda t: ({"size": t[0]}, [t[1]])),
    "unwindow": st.tuples(st.integers(1, 4), feature_map()).map(
        lambda t: (
            {"size": t[0]},
            [(t[1][0], -(-t[1][2] // t[0]) * -(-t[1][3] // t[0]), t[1][1], t[0] ** 2), t[1]],
        )
    ),
    "space_to_depth": feature_map().map(lambda s: ({}, [(s[0], s[1], 2 * s[2], 2 * s[3])])),
    "broadcast_add": feature_map().map(lambda s: ({}, [s, (1, s[1], 1, 1)])),
    "mul": feature_map().map(lambda s: ({}, [s, (s[1], 1, 1)])),
    "reshape_as": feature_map().map(lambda s: ({}, [(s[0], 5, s[2] * s[3]), s])),
    "anchor2box": st.tuples(SIDE, SIDE).map(
        lambda t: ({"strides": (8,), "anchors": (((4.0, 5.0), (6.0, 7.5)),)}, [(2, 4, 2 * t[0] * t[1]), (2, 9, *t)])
    ),
    "cell2box": dist2box().map(lambda call: ({"strides": call[0]["strides"]}, call[1])),
    "posembed2d": feature_map().map(lambda s: ({"c": 8, "temperature": 1e4}, [s])),
    "view": feature_map().map(
        lambda s: (
            {
                "target": "permute.default",
                "operands": (Slot(0), (0, 2, 3, 1)),
                "tensors": {},
                "keywords": {},
                "shape": (s[0], s[2], s[3], s[1]),
            },
            [s],
        )
    ),
    "constant": st.tuples(SMALL, SMALL).map(lambda s: ({"shape": s, "dtype": "float32"}, [])),
    "copy": feature_map().map(
        lambda s: (
            {"target": "flip.default", "operands": (Slot(0), (3,)), "keywords": {}, "tensors": {}, "shape": s},
            [s],
        )
    ),
    "elementwise": feature_map().map(
        lambda s: ({"target": "mul.Scalar", "operands": (Slot(0), 2.0), "keywords": {}, "tensors": {}, "shape": s}, [s])
    ),
    "reduce": st.tuples(feature_map(), st.booleans(), st.sampled_from(["mean", "sum", "amax"])).map(
        lambda t: ({"kind": t[2], "dims": (2, 3), "keep": t[1]}, [t[0]])
    ),
    "einsum": st.tuples(SMALL, SMALL, SMALL).map(
        lambda t: ({"equation": "bik,bkj->bji"}, [(2, t[0], t[1]), (2, t[1], t[2])])
    ),
    "sdpa": st.tuples(SMALL, SMALL, SMALL, SMALL).map(
        lambda t: ({"scale": None, "causal": False}, [(2, 3, t[1], t[0]), (2, 3, t[2], t[0]), (2, 3, t[2], t[3])])
    ),
    "opaque": feature_map().map(
        lambda s: (
            {
                "target": "add.Tensor",
                "operands": (Slot(0), Slot(1)),
                "tensors": {"w": TensorSpec((s[1], 1, 1))},
                "keywords": {},
                "shape": s,
            },
            [s],
        )
    ),
    "upsample": st.tuples(st.integers(1, 4), feature_map()).map(lambda t: ({"scale": t[0], "mode": "nearest"}, [t[1]])),
    "add": st.tuples(st.integers(1, 4), feature_map()).map(lambda t: ({}, [t[1]] * t[0])),
    "concat": joined(),
    "split": split(),
    "item": st.tuples(st.integers(0, 1), feature_map()).map(lambda t: ({"index": t[0]}, [t[1]])),
    "flatten": st.sampled_from([(1, 2), (2, 3), (1, 3)]).flatmap(lambda d: one_map(start=d[0], end=d[1])),
    "unflatten": unflatten(),
    "transpose": st.sampled_from([(1, 2), (2, 3), (3, 1)]).flatmap(lambda d: one_map(dims=d)),
    "detach": one_map(),
    "dist2box": dist2box(),
}
"""Primitive -> calls. Add every new primitive here."""
