"""Any layout is written and read again; any change of a file is read or refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from effscope.costing.model import cost
from effscope.errors import EffscopeError
from effscope.layouts.blocks.table import BLOCKS
from effscope.layouts.ultralytics_yaml.layout_yaml import from_yaml, same, to_yaml
from effscope.layouts.ultralytics_yaml.tables import SHARED_BLOCKS
from effscope.layouts.zoo.catalog import ZOO, layout
from effscope.spec.layout import IMAGE, Layer, Layout, Scale

UNLIMITED = Scale().max_channels

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "c_out": st.integers(1, 40).map(lambda c: 8 * c),
    "k": st.sampled_from([1, 3, 5]),
    "s": st.sampled_from([1, 2]),
    "scale": st.just(2),
    "size": st.none(),
    "mode": st.just("nearest"),
    "sides": st.just((0, 1, 0, 1)),
    "kernels": st.just((5, 9)),
    "p": st.sampled_from([0, 1]),
    "groups": st.sampled_from([1, 2]),
    "d": st.sampled_from([1, 2]),
    "expansion": st.sampled_from([0.25, 0.5, 1.0]),
    "n_pools": st.integers(1, 3),
    "act": st.sampled_from([True, False, "relu"]),
    **dict.fromkeys(("c_split", "c_part", "c_hidden"), st.sampled_from([16, 32])),
    **dict.fromkeys(("shortcut", "large_kernel", "c3k", "attention", "residual"), st.booleans()),
}
SIMPLE = [
    name
    for name, block in BLOCKS.items()
    if name in SHARED_BLOCKS and not block.many and not block.head and set(block.arguments) <= set(VALUES)
]


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Some blocks of the table and a head that reads some of them, with any ids and origins."""
    count = draw(st.integers(1, 6))
    names = draw(st.lists(st.text(min_size=1, max_size=4) | st.integers(0, 30).map(str), min_size=count + 1,
                          max_size=count + 1, unique=True).filter(lambda ids: IMAGE not in ids))  # fmt: skip
    layers: list[Layer] = []
    for n in range(count):
        block = draw(st.sampled_from(SIMPLE))
        every = BLOCKS[block].arguments
        args = tuple(draw(VALUES[name]) for name in every[: draw(st.integers(0, len(every)))])
        source = draw(st.sampled_from([layer.id for layer in layers])) if layers else IMAGE
        origin = draw(st.none() | st.text(max_size=3) | st.just(names[n]))
        layers.append(Layer(names[n], block, args, (source,), draw(st.integers(1, 4)), origin))
    read = tuple(draw(st.lists(st.sampled_from([layer.id for layer in layers]), min_size=1, max_size=3)))
    tower, pairing = draw(st.sampled_from(["standard", "light"])), draw(st.sampled_from(["o2m", "dual"]))
    head = (("nc",), ("nc", tower), ("nc", tower, pairing, draw(st.sampled_from([1, 16, 20]))))
    layers.append(Layer(names[-1], "Detect", draw(st.sampled_from(head)), read, 1, draw(st.none() | st.just("x"))))
    scale = draw(
        st.builds(
            Scale, st.sampled_from(["", "n", "m", "x", "b", "on"]), st.sampled_from([0.33, 1.0, 1e-5]),
            st.sampled_from([0.25, 0.75, 1.0]), st.sampled_from([64, 512, UNLIMITED]), st.sampled_from([1, 8]),
        )
    )  # fmt: skip
    name = draw(st.sampled_from(["mine", "yolov8n", "yolo11m", "a: b #"]))
    n_backbone = draw(st.integers(0, count + 1))
    return Layout(
        name, tuple(layers), scale, draw(st.integers(1, 99)), n_backbone, draw(st.sampled_from(["silu", "relu"]))
    )


def test_round_trip_of_any_layout() -> None:
    """Either the text gives the same layout, ids included, or the error is one line."""
    written = 0

    @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(layouts())
    def check(model: Layout) -> None:
        nonlocal written
        try:
            text = to_yaml(model)
        except EffscopeError as e:
            assert "\n" not in str(e) or "\n" in "".join(layer.id for layer in model.layers)
            return
        back = from_yaml(text, model.name)
        assert same(back, model)
        assert cost(back, 64).params == cost(model, 64).params
        written += 1

    check()
    assert written > 20


ODD = [
    None,
    -5,
    -1,
    0,
    1,
    2,
    7,
    2.5,
    "x",
    "nc",
    True,
    [],
    [1],
    [[1]],
    {},
    {"a": 1},
    1e9,
    10**30,
    math.inf,
    "1",
    "(1, 2)",
]
FAMILIES = [name for name in ("yolov8n", "yolov9e", "yolo12n", "yolo26n", "rtdetr-l", "rtdetr-resnet50") if name in ZOO]


@pytest.mark.parametrize("name", FAMILIES)
def test_any_change_of_a_file_is_read_or_refused_in_one_line(name: str) -> None:
    """A mistake in a row or key never gives a traceback. A file that is read can be written, or that is an error."""
    text = to_yaml(layout(name))

    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        plain = yaml.safe_load(text)
        part = plain[data.draw(st.sampled_from(["backbone", "head"]))]
        row = part[data.draw(st.integers(0, len(part) - 1))]
        odd = data.draw(st.sampled_from(ODD))
        place = data.draw(st.sampled_from(["row", "from", "repeats", "args", "arg", "more", "key"]))
        match place:
            case "row":
                row[:] = [odd]
            case "from" | "repeats" | "args":
                row[{"from": 0, "repeats": 1, "args": 3}[place]] = odd
            case "arg":
                assume(row[3])
                row[3][data.draw(st.integers(0, len(row[3]) - 1))] = odd
            case "more":
                row[3].append(odd)
            case _:
                plain[data.draw(st.sampled_from([*plain, "end2end", "reg_max", "activation", "effscope"]))] = odd
        try:
            to_yaml(from_yaml(yaml.safe_dump(plain, default_flow_style=None), name, "a.yaml"))
        except EffscopeError as e:
            assert "\n" not in str(e)

    check()
