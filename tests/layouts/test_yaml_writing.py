"""Layouts written as YAML and read again, and layouts that YAML cannot express."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import yaml

from effscope.errors import EffscopeError
from effscope.layouts.moves import MOVES, move
from effscope.layouts.ultralytics_yaml.layout_yaml import from_yaml, to_yaml
from effscope.layouts.ultralytics_yaml.tables import SCALE_RULES, SHARED_BLOCKS
from effscope.layouts.zoo.catalog import ZOO, layout
from effscope.spec.layout import IMAGE, Layer, Layout, Scale

SMALL = [name for name in ("yolov8n", "yolov10s", "yolov5n", "yolov9t", "yolo11m", "yolo12n", "yolo26l") if name in ZOO]

OURS_ALONE = {name for name in ZOO if {layer.block for layer in layout(name).layers} - set(SHARED_BLOCKS)}
"""Models with blocks that Ultralytics does not have."""


@pytest.mark.parametrize("name", sorted(OURS_ALONE))
def test_a_model_that_ultralytics_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(EffscopeError, match="Ultralytics' YAML has no such block"):
        to_yaml(layout(name))


@pytest.mark.parametrize("name", [name for name in ZOO if name not in OURS_ALONE])
def test_every_built_in_model_is_written_and_read_again(name: str) -> None:
    model = layout(name, 7)
    text = to_yaml(model)
    assert from_yaml(text, name) == model
    plain = yaml.safe_load(text)
    assert plain["nc"] == 7
    assert ("effscope" in plain) == any(layer.id != str(n) for n, layer in enumerate(model.layers))
    assert all(len(row) == 4 for row in plain["backbone"] + plain["head"])


MOVED = [("scdown",), ("light-head", "cib"), ("light-head", "cib-lk", "scdown"), ("nms-free", "light-head", "psa"),
         ("slim-50", "scdown"), ("slim-75", "shallow"), ("shallow", "ghost")]  # fmt: skip


def moved(name: str, moves: tuple[str, ...]) -> Layout | None:
    """The model after moves, or None if it has no layer for one of them."""
    model = layout(name, 3)
    with suppress(EffscopeError):
        for step in moves:
            model = move(model, step)
        return model
    return None


AFTER_MOVES = {f"{name} {' '.join(moves)}": made for name in SMALL for moves in MOVED if (made := moved(name, moves))}


@pytest.mark.parametrize("model", AFTER_MOVES.values(), ids=AFTER_MOVES)
def test_layouts_after_moves_are_written_and_read_again(model: Layout) -> None:
    """Also with ids that are not positions and with new layers: the key `effscope` keeps them, with any file name."""
    name = model.name
    text = to_yaml(model)
    assert from_yaml(text, name) == model
    assert to_yaml(from_yaml(text, name)) == text
    again = from_yaml(text, "model")
    assert (again.scale, again.layers) == (model.scale, model.layers)


def test_every_move_is_tested() -> None:
    assert {step for steps in MOVED for step in steps} == set(MOVES)


@pytest.mark.parametrize(("block", "args"), [("C3k2", (512, False)), ("A2C2f", (512, True, 4))])
@pytest.mark.parametrize("letter", "nlx")
def test_arguments_that_a_scale_forces_cannot_be_changed(block: str, args: tuple[Any, ...], letter: str) -> None:
    base = layout(f"yolov8{letter}")
    forced = replace(base.layers[12], block=block, args=args)
    model = base.swap([forced, replace(base.layers[-1], args=("nc", "light"))])
    if letter in SCALE_RULES[block].scales:
        with pytest.raises(EffscopeError, match=f"at scale {letter} Ultralytics builds every {block} as"):
            to_yaml(model)
    else:
        assert from_yaml(to_yaml(model), model.name) == model
    unnamed = replace(model, scale=Scale("", 1.0, 0.25))
    for name in ("best", f"yolov8{letter}"):
        renamed = replace(unnamed, name=name)
        assert from_yaml(to_yaml(renamed), name) == renamed


def real(*widths: int) -> Layout:
    """A layout as it is read from weights: its channels are real."""
    layers = [
        Layer(str(n), "Conv", (c, 3, 2), (str(n - 1) if n else IMAGE,), origin=str(n)) for n, c in enumerate(widths)
    ]
    head = Layer("head", "Detect", ("nc",), (layers[-1].id,), origin=None)
    return Layout("best", (*layers, head), Scale(multiple=1), 3, len(layers))


def test_real_channels_are_written_if_ultralytics_keeps_them() -> None:
    assert from_yaml(to_yaml(real(16, 40)), "best") == real(16, 40)
    assert "width_multiple: 1.0" in to_yaml(real(16, 40))
    with pytest.raises(EffscopeError, match=r"layer '1' has 42 channels: .*multiples of 8"):
        to_yaml(real(16, 42))


BASE = layout("yolov8n")


def light(model: Layout) -> Layout:
    return move(model, "light-head")


UNWRITABLE: dict[str, tuple[Layout, str]] = {
    "light without cause": (light(BASE), "light class head but no CIB stage"),
    "standard with CIB": (move(BASE, "cib"), "CIB stages and the standard class head.*set `head` to light"),
    "light, dual, few bins": (
        BASE.swap([replace(BASE.layers[-1], args=("nc", "light", "dual", 8))]), "light class head but no CIB stage"
    ),
    "standard with C3k2": (
        BASE.swap([replace(BASE.layers[12], block="C3k2", args=(512, True))]), "C3k2 stages and the standard class"
    ),
    "no head": (replace(BASE, layers=BASE.layers[:-1]), "ends in a C2f, not in a detection head"),
    "image read late": (BASE.swap([replace(BASE.layers[16], sources=(IMAGE,))]), "layer '16' reads the image"),
    "chain": (BASE.swap([Layer("2", "Chain", ((("silu", "act"),), False), ("1",))]), "layer '2' is a Chain"),
    "unknown block": (BASE.swap([Layer("2", "Magic", (3,), ("1",))]), "layer '2' is a Magic"),
    "activation": (replace(BASE, activation="softmax"), "activation 'softmax' has no name in torch.nn"),
    "wrong argument": (BASE.swap([replace(BASE.layers[3], args=(256, 0, 2))]), "yolov8n as YAML, line 9: layer 3"),
}  # fmt: skip


@pytest.mark.parametrize(("model", "message"), UNWRITABLE.values(), ids=UNWRITABLE)
def test_a_layout_that_yaml_cannot_express_is_refused(model: Layout, message: str) -> None:
    with pytest.raises(EffscopeError, match=message) as caught:
        to_yaml(model)
    assert "\n" not in str(caught.value)


def test_a_name_cannot_add_lines_to_the_file() -> None:
    model = replace(layout("yolov8n"), name="a\nnc: 3\u2028nc: 4")
    assert from_yaml(to_yaml(model), model.name) == model
