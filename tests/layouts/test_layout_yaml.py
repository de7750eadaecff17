"""Layouts as YAML: there and back, files as others write them, and what is refused, with its line."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from effscope.costing.model import cost
from effscope.errors import EffscopeError
from effscope.layouts.blocks.table import BLOCKS
from effscope.layouts.moves import MOVES, move
from effscope.layouts.ultralytics_yaml.layout_yaml import from_yaml, open_yaml, read_yaml, same, to_yaml
from effscope.layouts.ultralytics_yaml.tables import ACTIVATIONS, NAMES, SCALE_RULES, SHARED_BLOCKS, vocabulary
from effscope.layouts.zoo.catalog import ZOO, layout
from effscope.spec.layout import IMAGE, Layer, Layout, Scale

YOLOV8 = """
# as Ultralytics spells it, all scales in one file
nc: 80
scales:
  n: [0.33, 0.25, 1024]
  s: [0.33, 0.50, 1024]
  m: [0.67, 0.75, 768]
  l: [1.00, 1.00, 512]
  x: [1.00, 1.25, 512]
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 3, C2f, [128, True]]
  - [-1, 1, Conv, [256, 3, 2]]
  - [-1, 6, C2f, [256, True]]
  - [-1, 1, Conv, [512, 3, 2]]
  - [-1, 6, C2f, [512, True]]
  - [-1, 1, Conv, [1024, 3, 2]]
  - [-1, 3, C2f, [1024, True]]
  - [-1, 1, SPPF, [1024, 5]]
head:
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 6], 1, Concat, [1]]
  - [-1, 3, C2f, [512]]
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 4], 1, Concat, [1]]
  - [-1, 3, C2f, [256]]
  - [-1, 1, Conv, [256, 3, 2]]
  - [[-1, 12], 1, Concat, [1]]
  - [-1, 3, C2f, [512]]
  - [-1, 1, Conv, [512, 3, 2]]
  - [[-1, 9], 1, Concat, [1]]
  - [-1, 3, C2f, [1024]]
  - [[15, 18, 21], 1, Detect, [nc]]
"""

YOLOV8_SIZES = [f"yolov8{letter}" for letter in "nsmlx"]
SMALL = [name for name in ("yolov8n", "yolov10s", "yolov5n", "yolov9t", "yolo11m", "yolo12n", "yolo26l") if name in ZOO]


def detector(*rows: str, top: str = "nc: 2", name: str = "layout") -> Layout:
    """A file of some rows in its backbone and a head on the last of them."""
    body = "\n".join(f"  - {row}" for row in rows)
    return from_yaml(f"{top}\nbackbone:\n{body}\nhead:\n  - [[-1], 1, Detect, [nc]]\n", name, "a.yaml")


@pytest.mark.parametrize("name", YOLOV8_SIZES)
def test_the_published_file_is_the_built_in_model(name: str) -> None:
    assert from_yaml(YOLOV8, name) == layout(name)


@pytest.mark.parametrize("style", [None, True, False])
def test_the_style_of_the_text_does_not_matter(style: bool | None) -> None:
    text = yaml.safe_dump(yaml.safe_load(YOLOV8), default_flow_style=style, sort_keys=False)
    assert from_yaml(text, "yolov8s") == layout("yolov8s")
    assert from_yaml("\ufeff" + text.replace("\n", "\r\n"), "yolov8s") == layout("yolov8s")


OURS_ALONE = {name for name in ZOO if {layer.block for layer in layout(name).layers} - set(SHARED_BLOCKS)}
"""Models with blocks that Ultralytics does not have."""


@pytest.mark.parametrize("name", sorted(OURS_ALONE))
def test_a_model_that_ultralytics_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(EffscopeError, match="Ultralytics' YAML has no such block"):
        to_yaml(layout(name))


@pytest.mark.parametrize("name", [name for name in ZOO if name not in OURS_ALONE])
def test_every_built_in_model_there_and_back(name: str) -> None:
    model = layout(name, 7)
    text = to_yaml(model)
    assert from_yaml(text, name) == model
    plain = yaml.safe_load(text)
    assert plain["nc"] == 7
    assert ("effscope" in plain) == any(layer.id != str(n) for n, layer in enumerate(model.layers))
    assert all(len(row) == 4 for row in plain["backbone"] + plain["head"])


MOVED = [("scdown",), ("light-head", "cib"), ("light-head", "cib-lk", "scdown"), ("nms-free", "light-head", "psa")]


def moved(name: str, moves: tuple[str, ...]) -> Layout | None:
    """The model after moves, None where it has no layer for one of them."""
    model = layout(name, 3)
    with suppress(EffscopeError):
        for step in moves:
            model = move(model, step)
        return model
    return None


AFTER_MOVES = {f"{name} {' '.join(moves)}": made for name in SMALL for moves in MOVED if (made := moved(name, moves))}


@pytest.mark.parametrize("model", AFTER_MOVES.values(), ids=AFTER_MOVES)
def test_there_and_back_after_moves(model: Layout) -> None:
    """Also where ids are no positions and a layer is new: the key `effscope` keeps them, under any file name."""
    name = model.name
    text = to_yaml(model)
    assert from_yaml(text, name) == model
    assert to_yaml(from_yaml(text, name)) == text
    again = from_yaml(text, "model")
    assert (again.scale, again.layers) == (model.scale, model.layers)


def test_every_move_is_walked() -> None:
    assert {step for steps in MOVED for step in steps} == set(MOVES)


STEMS = {
    "yolov8m": "m", "yolov8": "n", "yolo11x": "x", "my-yolov8l-640": "l", "best": "n", "yoloe-v8s": "s",
    "yolov8s-p2": "s", "yolov10b": "n", "model_s": "n",
}  # fmt: skip


@pytest.mark.parametrize(("stem", "letter"), STEMS.items())
def test_the_scale_is_read_off_the_name_as_ultralytics_does(stem: str, letter: str, tmp_path: Path) -> None:
    (tmp_path / f"{stem}.yaml").write_text(YOLOV8)
    read = open_yaml(tmp_path / f"{stem}.yaml")
    assert read.layout.scale.name == letter
    first = letter == "n"
    assert read.note == f"scale {letter}, " + ("the first of n, s, m, l, x: its name has no letter" if first else
                                               "as its name says")  # fmt: skip


def test_a_name_whose_scale_is_not_there() -> None:
    only = YOLOV8.replace("  n: [0.33, 0.25, 1024]\n", "")
    with pytest.raises(EffscopeError, match=r"a\.yaml, line 4: the name says scale 'n', the file has s, m, l, x"):
        from_yaml(only, "yolov8n", "a.yaml")
    assert (
        detector("[-1, 1, Conv, [16, 3, 2]]", top="nc: 2\nscales: {s: [1, 0.5, 64]}", name="yolov8n").scale.name == "s"
    )


def test_the_key_scale_picks_where_the_name_does_not() -> None:
    assert from_yaml(YOLOV8 + "scale: l\n", "best") == replace(from_yaml(YOLOV8, "yolov8l"), name="best")
    assert from_yaml(YOLOV8 + "scale: l\n", "yolov8s").scale.name == "s"


UNLIMITED = Scale().max_channels


@pytest.mark.parametrize(
    ("top", "scale"),
    [
        ("nc: 2", Scale()),
        ("nc: 2\ndepth_multiple: 0.33\nwidth_multiple: 0.5", Scale("", 0.33, 0.5)),
        ("nc: 2\nscales: {n: [1, 0.5]}", Scale("n", 1, 0.5)),
        ("nc: 2\nscales: {n: [1, 0.5, .inf]}", Scale("n", 1, 0.5)),
        ("nc: 2\nscales: {n: [1, 0.5, inf]}", Scale("n", 1, 0.5)),
        ("nc: 2\nscales:\n  t:\n    - 1\n    - 2\n    - 512", Scale("t", 1, 2, 512)),
        ("nc: 2\nbase: &a [1, 2, 3]".replace("base", "names") + "\nscales: {n: *a}", Scale("n", 1, 2, 3)),
    ],
)
def test_forms_of_a_scale(top: str, scale: Scale) -> None:
    model = detector("[-1, 1, Conv, [16, 3, 2]]", top=top)
    assert model.scale == scale
    assert from_yaml(to_yaml(model)) == model


@pytest.mark.parametrize(("call", "primitive"), ACTIVATIONS.items())
def test_activations_there_and_back(call: str, primitive: str) -> None:
    for prefix in ("nn", "torch.nn"):
        model = detector("[-1, 1, Conv, [16, 3, 2]]", top=f"nc: 2\nactivation: {prefix}.{call}")
        assert model.activation == primitive
        assert from_yaml(to_yaml(model)) == model
    spoken = call.replace("()", "(inplace=True)").replace("(0.1)", "(negative_slope=0.1, inplace=True)")
    assert detector("[-1, 1, Conv, [16, 3, 2]]", top=f"nc: 2\nactivation: nn.{spoken}").activation == primitive


@pytest.mark.parametrize(
    "call", ["ReLU()", "nn.LeakyReLU()", "nn.LeakyReLU(0.2)", "nn.Softplus()", "__import__('os').system('true')",
             "nn.ReLU().__class__", "3", "[nn.ReLU()]", "nn.ReLU", "nn.ReLU() or nn.SiLU()"],
)  # fmt: skip
def test_other_activations_are_refused_unread(call: str) -> None:
    with pytest.raises(EffscopeError, match=r"a\.yaml, line 2: 'activation' must be one of nn\.SiLU\(\), .*"):
        detector("[-1, 1, Conv, [16, 3, 2]]", top=f'nc: 2\nactivation: "{call}"')


HEADS: dict[str, tuple[str, str, tuple[Any, ...]]] = {
    "plain": ("", "Detect", ("nc",)),
    "dual": ("end2end: True", "Detect", ("nc", "standard", "dual")),
    "not dual": ("end2end: False", "Detect", ("nc",)),
    "few bins": ("reg_max: 8", "Detect", ("nc", "standard", "o2m", 8)),
    "dual without bins": ("end2end: True\nreg_max: 1", "Detect", ("nc", "standard", "dual", 1)),
    "YOLOv10": ("", "v10Detect", ("nc", "light", "dual")),
    "YOLOv10 has its own": ("end2end: False\nreg_max: 1", "v10Detect", ("nc", "light", "dual")),
}


@pytest.mark.parametrize(("keys", "module", "args"), HEADS.values(), ids=HEADS)
def test_heads_there_and_back(keys: str, module: str, args: tuple[Any, ...]) -> None:
    text = YOLOV8.replace("Detect, [nc]", f"{module}, [nc]") + keys
    model = from_yaml(text, "yolov8n")
    assert model.layers[-1].args == args
    assert from_yaml(to_yaml(model), "yolov8n") == model
    assert from_yaml(text.replace("[nc]", "[80]"), "yolov8n") == model


@pytest.mark.parametrize("stage", ["C2fCIB, [1024, True]", "C3k2, [1024, False]", "A2C2f, [1024, True, 1]"])
def test_some_blocks_bring_the_light_class_head(stage: str) -> None:
    model = from_yaml(YOLOV8.replace("C2f, [1024]", stage), "yolov8n")
    assert model.layers[-1].args == ("nc", "light")
    assert from_yaml(to_yaml(model), "yolov8n") == model


@pytest.mark.parametrize("letter", "nsmlx")
def test_rules_tied_to_scales(letter: str) -> None:
    text = YOLOV8.replace("C2f, [512]", "C3k2, [512, False, 0.25]").replace("C2f, [512, True]", "A2C2f, [512, True, 4]")
    model = from_yaml(text, f"yolov8{letter}")
    assert model.layers[12].args == (512, letter in "mlx", 0.25)
    assert model.layers[6].args == ((512, True, 4, True, 1.2) if letter in "lx" else (512, True, 4))
    assert from_yaml(to_yaml(model), "any name") == replace(model, name="any name")


@pytest.mark.parametrize(("block", "args"), [("C3k2", (512, False)), ("A2C2f", (512, True, 4))])
@pytest.mark.parametrize("letter", "nlx")
def test_what_a_scale_forces_cannot_be_written_otherwise(block: str, args: tuple[Any, ...], letter: str) -> None:
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
    """A layout as read from weights: its channels are real."""
    layers = [
        Layer(str(n), "Conv", (c, 3, 2), (str(n - 1) if n else IMAGE,), origin=str(n)) for n, c in enumerate(widths)
    ]
    head = Layer("head", "Detect", ("nc",), (layers[-1].id,), origin=None)
    return Layout("best", (*layers, head), Scale(multiple=1), 3, len(layers))


def test_real_channels_are_written_where_ultralytics_keeps_them() -> None:
    assert from_yaml(to_yaml(real(16, 40)), "best") == real(16, 40)
    assert "width_multiple: 1.0" in to_yaml(real(16, 40))
    with pytest.raises(EffscopeError, match=r"layer '1' has 42 channels: .*multiples of 8"):
        to_yaml(real(16, 42))


BASE = layout("yolov8n")


def light(model: Layout) -> Layout:
    return move(model, "light-head")


UNWRITABLE: dict[str, tuple[Layout, str]] = {
    "light without cause": (light(BASE), "light class head but no CIB stage"),
    "standard beside CIB": (move(BASE, "cib"), "CIB stages and the standard class head.*set `head` to light"),
    "light, dual, few bins": (
        BASE.swap([replace(BASE.layers[-1], args=("nc", "light", "dual", 8))]), "light class head but no CIB stage"
    ),
    "standard beside C3k2": (
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
def test_a_layout_that_cannot_be_spelled_is_refused(model: Layout, message: str) -> None:
    with pytest.raises(EffscopeError, match=message) as caught:
        to_yaml(model)
    assert "\n" not in str(caught.value)


def test_words_in_arguments() -> None:
    """What Ultralytics looks up or evaluates: numbers of the file, None, True, numbers in quotes."""
    rows = ('[-1, 1, "Conv", ["64", \'3\', 2, "None", 1, nc, "True"]]', "[-1, 1, nn.MaxPool2d, [2, None, 0]]")
    model = detector(*rows)
    assert model.layers[0].args == (64, 3, 2, None, 1, 2, True)
    assert model.layers[1].args == (2, None, 0)


def test_repeated_and_listed_sources() -> None:
    model = detector(
        "[-1, 1, nn.Identity, []]", "[-1, 2, Conv, [3, 3]]".replace("3,", "8,", 1), "[-2, 1, Conv, [8]]",
        "[[-1, 1, -3], 1, Concat, [1]]", "[0, 4, nn.MaxPool2d, [2]]", top="nc: 2\nscales: {n: [0.3, 1]}",
    )  # fmt: skip
    assert [layer.sources for layer in model.layers[:-1]] == [(IMAGE,), ("0",), ("0",), ("2", "1", "0"), ("0",)]
    assert from_yaml(to_yaml(model)) == model


CONV = "[-1, 1, Conv, [64, 3, 2]]"
STAGE = "[-1, 3, C2f, [128, True]]"
DETECT = "[[15, 18, 21], 1, Detect, [nc]]"
BROKEN: dict[str, tuple[str, str]] = {
    "unknown block": (CONV, "[-1, 1, Magic, [64, 3, 2]]"),
    "row too short": (CONV, "[-1, 1, Conv]"),
    "row no list": (CONV, "Conv"),
    "args no list": (CONV, "[-1, 1, Conv, 64]"),
    "source ahead": (CONV, "[5, 1, Conv, [64, 3, 2]]"),
    "first source not the image": (CONV, "[-2, 1, Conv, [64, 3, 2]]"),
    "source itself": (STAGE, "[2, 3, C2f, [128, True]]"),
    "source before the image": (STAGE, "[-9, 3, C2f, [128, True]]"),
    "source a word": (STAGE, "[up, 3, C2f, [128, True]]"),
    "source a truth": (STAGE, "[True, 3, C2f, [128, True]]"),
    "source a list of words": (DETECT, "[[15, 18, last], 1, Detect, [nc]]"),
    "no source": (STAGE, "[[], 3, C2f, [128, True]]"),
    "no source of many": ("[[-1, 6], 1, Concat", "[[], 1, Concat"),
    "one source for many": ("[[-1, 6], 1, Concat", "[-1, 1, Concat"),
    "two sources for one input": (STAGE, "[[0, 1], 3, C2f, [128, True]]"),
    "channels a word": (CONV, "[-1, 1, Conv, [wide, 3, 2]]"),
    "no channels": (CONV, "[-1, 1, Conv, []]"),
    "missing arguments": (STAGE, "[-1, 1, RepNCSPELAN4, [128]]"),
    "zero channels": (CONV, "[-1, 1, Conv, [0, 3, 2]]"),
    "negative channels": (CONV, "[-1, 1, Conv, [-64, 3, 2]]"),
    "endless channels": (CONV, f"[-1, 1, Conv, [{10**30}, 3, 2]]"),
    "zero stride": (CONV, "[-1, 1, Conv, [64, 3, 0]]"),
    "zero kernel": (CONV, "[-1, 1, Conv, [64, 0, 2]]"),
    "kernel none": (CONV, "[-1, 1, Conv, [64, None, 2]]"),
    "kernel a fraction": (CONV, "[-1, 1, Conv, [64, 2.5, 2]]"),
    "too many arguments": (CONV, "[-1, 1, Conv, [64, 3, 2, 1, 1, 1, True, 1]]"),
    "a mapping for an argument": (CONV, "[-1, 1, Conv, [64, {k: 3}]]"),
    "repeats that change the channels": (CONV, "[-1, 6, Conv, [64, 3, 2]]"),
    "negative repeats": (STAGE, "[-1, -3, C2f, [128, True]]"),
    "no repeats": (STAGE, "[-1, 0, C2f, [128, True]]"),
    "repeats a truth": (STAGE, "[-1, True, C2f, [128, True]]"),
    "endless repeats": (STAGE, "[-1, 100000000, C2f, [128, True]]"),
    "upsampling to a size": ('[None, 2, "nearest"]', '[[40, 40], None, "nearest"]'),
    "upsampling in another way": ('"nearest"', '"magic"'),
    "concatenation over height": ("Concat, [1]", "Concat, [2]"),
    "class count a word": ("nc: 80", "nc: many"),
    "no classes": ("nc: 80", "nc: 0"),
    "negative classes": ("nc: 80", "nc: -1"),
    "class count empty": ("nc: 80", "nc:"),
    "class count a list": ("nc: 80", "nc: [80]"),
    "another class count in the head": (DETECT, "[[15, 18, 21], 1, Detect, [4]]"),
    "no class count in the head": (DETECT, "[[15, 18, 21], 1, Detect, []]"),
    "more arguments of the head": (DETECT, "[[15, 18, 21], 1, Detect, [nc, 16]]"),
    "scales a list": ("nc: 80\nscales:", "scales: [1, 2, 3]\nnc: 80\nnames:"),
    "scale of words": ("n: [0.33, 0.25, 1024]", "n: [a, b, c]"),
    "scale too short": ("n: [0.33, 0.25, 1024]", "n: [0.33]"),
    "scale zero": ("n: [0.33, 0.25, 1024]", "n: [0.33, 0, 1024]"),
    "scale not a number": ("n: [0.33, 0.25, 1024]", "n: [.nan, 0.25, 1024]"),
    "scale truths": ("n: [0.33, 0.25, 1024]", "n: [True, True, True]"),
    "layer behind the head": ("[[-1, 9], 1, Concat, [1]]", DETECT),
    "end2end a word": ("nc: 80", "end2end: perhaps\nnc: 80"),
    "bins a fraction": ("nc: 80", "reg_max: 1.5\nnc: 80"),
    "grey images": ("nc: 80", "ch: 1\nnc: 80"),
    "a key not known": ("nc: 80", "magic: 3\nnc: 80"),
    "anchors": ("nc: 80", "anchors: [[10, 13, 16, 30]]\nnc: 80"),
    "a key twice": ("scales:", "nc: 3\nscales:"),
    "maps that do not fit": ("[[-1, 6], 1, Concat", "[[-1, 4], 1, Concat"),
    "sums that do not fit": (STAGE, "[-1, 1, A2C2f, [512, True, 1, True]]"),
    "areas that do not fit": (STAGE, "[-1, 1, A2C2f, [128, True, 4]]"),
    "segmentation head": (DETECT, "[[15, 18, 21], 1, Segment, [nc, 32, 256]]"),
    "pose head": (DETECT, "[[15, 18, 21], 1, Pose, [nc, [17, 3]]]"),
    "text head": (DETECT, "[[15, 18, 21], 1, WorldDetect, [nc, 512, False]]"),
    "our own block": (STAGE, "[-1, 1, Chain, [[], True]]"),
    "own key no mapping": ("nc: 80", "effscope: 3\nnc: 80"),
    "own key unknown": ("nc: 80", "effscope: {magic: 3}\nnc: 80"),
    "ids too few": ("nc: 80", "effscope: {ids: [0, 1]}\nnc: 80"),
    "ids twice": ("nc: 80", f"effscope: {{ids: {[0] * 23}}}\nnc: 80"),
    "ids the image": ("nc: 80", f"effscope: {{ids: {['image', *range(1, 23)]}}}\nnc: 80"),
    "backbone too long": ("nc: 80", "effscope: {backbone: 99}\nnc: 80"),
    "origins of nothing": ("nc: 80", "effscope: {origins: 3}\nnc: 80"),
}


@pytest.mark.parametrize(("old", "new"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_in_one_line_that_names_its_line(old: str, new: str) -> None:
    """A layout that cannot be what its writer meant is an error, never a guess and never a traceback."""
    assert old in YOLOV8
    text = YOLOV8.replace(old, new, 1)
    line = text[: text.index(new)].count("\n") + 1
    with pytest.raises(EffscopeError) as caught:
        from_yaml(text, "yolov8n", "a.yaml")
    assert str(caught.value).startswith(f"a.yaml, line {line}: ")
    assert "\n" not in str(caught.value)
    assert "YamlValue(" not in str(caught.value)


SAID = {
    "[-1, 1, C2fMagic, [64]]": "layer 0: unknown block 'C2fMagic': did you mean C2f",
    "[-1, 1, conv, [64]]": "unknown block 'conv': did you mean Conv",
    "[-1, 1, Upsample, [None, 2, nearest]]": r"unknown block 'Upsample': did you mean nn\.Upsample",
    "[-1, 1, Xyzzy, [64]]": "unknown block 'Xyzzy': choose one of Conv, ",
    "[-1, 1, Segment, [nc]]": "'Segment' is a head for segmentation: effscope reads detectors.*Detect, v10Detect",
    "[-1, 1, LightConv, [64, 3]]": "'LightConv' exists in effscope only: Ultralytics' YAML does not have it",
    "[-1, 1, Classify, [nc]]": "'Classify' is a head for classification",
    "[-1, 1, C2fAttn, [64, 64, 2]]": "'C2fAttn' is text-guided attention: effscope does not build that block",
    "[-1, 1, Conv, [64, three]]": "'k' must be a positive whole kernel side, got 'three'",
    "[7, 1, Conv, [64]]": "the first layer reads the image",
}


@pytest.mark.parametrize(("row", "message"), SAID.items())
def test_what_an_error_says(row: str, message: str) -> None:
    with pytest.raises(EffscopeError, match=r"a\.yaml, line 3: .*" + message):
        detector(row)


def test_the_choices_are_all_blocks_a_row_can_name() -> None:
    assert set(SHARED_BLOCKS) <= set(BLOCKS)
    assert set(vocabulary()) == {NAMES.get(name, name) for name in SHARED_BLOCKS} | {"v10Detect"}


@pytest.mark.parametrize(
    "text",
    ["", "a: [", "3", "[]", "just text", "nc: 3", "backbone: []", "head: []", "backbone:\nhead:\n",
     "backbone: []\nhead: []", "backbone: 3\nhead: 4", "backbone: abc\nhead: def", "backbone: {a: 1}\nhead: {}",
     "\tnc: 3", "backbone: [1]\nhead: [2]", "&a [*a]", "!!python/object:os.system {}", "a: 1\n---\nb: 2", "? [1]\n: 2",
     "<<: {nc: 3}", "nc: !!binary aGk=", "nc: !!int abc", "nc: !mine 3", "[" * 5000, "\x00", "nc: 2020-01-01",
     "a: &a {b: *a}", "nc: " + "9" * 5000, "x" * 300_000, "backbone: [1]\nhead: [2]\nnc: 3"],
)  # fmt: skip
def test_text_that_is_no_layout_is_refused(text: str) -> None:
    with pytest.raises(EffscopeError) as caught:
        from_yaml(text, "x", "a.yaml")
    assert "a.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bomb_of_aliases_is_not_followed() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(EffscopeError, match=r"a\.yaml, line \d+: more than 50000 values after aliases"):
        from_yaml("\n".join(lines) + YOLOV8, "x", "a.yaml")


def test_keys_that_change_nothing_are_passed_over() -> None:
    extra = "names: {0: person, 1: bicycle}\npath: ../data\nyaml_file: x.yaml\nch: 3\nkpt_shape: [17, 3]\n"
    assert from_yaml(YOLOV8 + extra, "yolov8n") == layout("yolov8n")


def test_read_yaml_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "yolov8s.yaml"
    file.write_text(YOLOV8)
    assert read_yaml(file) == layout("yolov8s")
    file.write_text("nc: 3")
    with pytest.raises(EffscopeError, match=r"yolov8s\.yaml is not a model layout"):
        read_yaml(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EffscopeError, match="cannot read"):
        read_yaml(file)


def test_a_name_cannot_write_lines_of_its_own() -> None:
    model = replace(layout("yolov8n"), name="a\nnc: 3\u2028nc: 4")
    assert from_yaml(to_yaml(model), model.name) == model


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
    """A row of blocks of the table and a head over some of them, ids and origins of any kind."""
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
    """Either the text says the layout, ids and all, or one line says why there is no text."""
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
    """No mistake in a row or key ends in a traceback; what is read can be written again, or that is refused."""
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
