"""Layouts as YAML: there and back, the published file as it is written by others, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from effscope.blocks.table import BLOCKS
from effscope.costing.estimate import cost
from effscope.errors import EffscopeError
from effscope.families.catalog import ZOO, layout
from effscope.layout_yaml import from_yaml, read_yaml, to_yaml
from effscope.moves import move
from effscope.spec.layout import Layout

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


@pytest.mark.parametrize("name", ZOO)
def test_the_published_file_is_the_built_in_model(name: str) -> None:
    assert from_yaml(YOLOV8, name) == layout(name)


MOVED = [(), ("scdown",), ("light-head", "cib"), ("light-head", "cib-lk", "scdown")]


@pytest.mark.parametrize("moves", MOVED, ids=str)
@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("nc", [1, 80])
def test_there_and_back(name: str, moves: tuple[str, ...], nc: int) -> None:
    model = layout(name, nc)
    for step in moves:
        model = move(model, step)
    text = to_yaml(model)
    back = from_yaml(text, name)
    assert back == model
    assert to_yaml(back) == text
    plain = yaml.safe_load(text)
    assert plain["nc"] == nc
    assert len(plain["backbone"]) == 10
    assert all(len(row) == 4 for row in plain["backbone"] + plain["head"])


def test_any_name_finds_the_only_scale() -> None:
    model = move(move(layout("yolov8s", 4), "light-head"), "cib", ["8"])
    for name in ("mine", "model", "yolov8s", "runs"):
        back = from_yaml(to_yaml(model), name)
        assert (back.scale, back.layers) == (model.scale, model.layers)


@pytest.mark.parametrize(
    ("stem", "letter"), [("yolov8m", "m"), ("yolov8", "n"), ("yolo11x", "x"), ("my-yolov8l-640", "l"), ("best", "n")]
)
def test_the_scale_is_read_off_the_name(stem: str, letter: str) -> None:
    assert from_yaml(YOLOV8, stem).scale.name == letter


@pytest.mark.parametrize(
    ("moves", "message"),
    [
        (("light-head",), "light class head but no CIB stage"),
        (("cib",), "CIB stages under the standard class head.*--head light"),
    ],
)
def test_a_head_that_cannot_be_spelled_is_refused(moves: tuple[str, ...], message: str) -> None:
    model: Layout = layout("yolov8n")
    for name in moves:
        model = move(model, name)
    with pytest.raises(EffscopeError, match=message) as caught:
        to_yaml(model)
    assert "\n" not in str(caught.value)


CONV = "[-1, 1, Conv, [64, 3, 2]]"
STAGE = "[-1, 3, C2f, [128, True]]"
DETECT = "[[15, 18, 21], 1, Detect, [nc]]"
BROKEN: dict[str, tuple[str, str]] = {
    "unknown block": (CONV, "[-1, 1, Magic, [64, 3, 2]]"),
    "row too short": (CONV, "[-1, 1, Conv]"),
    "row no list": (CONV, "Conv"),
    "args no list": (CONV, "[-1, 1, Conv, 64]"),
    "source ahead": (CONV, "[5, 1, Conv, [64, 3, 2]]"),
    "source itself": (STAGE, "[2, 3, C2f, [128, True]]"),
    "source before the image": (STAGE, "[-9, 3, C2f, [128, True]]"),
    "source a word": (STAGE, "[up, 3, C2f, [128, True]]"),
    "source a list of words": (DETECT, "[[15, 18, last], 1, Detect, [nc]]"),
    "no source": (STAGE, "[[], 3, C2f, [128, True]]"),
    "two sources for one input": (STAGE, "[[0, 1], 3, C2f, [128, True]]"),
    "channels a word": (CONV, "[-1, 1, Conv, [wide, 3, 2]]"),
    "no channels": (CONV, "[-1, 1, Conv, []]"),
    "zero channels": (CONV, "[-1, 1, Conv, [0, 3, 2]]"),
    "negative channels": (CONV, "[-1, 1, Conv, [-64, 3, 2]]"),
    "zero stride": (CONV, "[-1, 1, Conv, [64, 3, 0]]"),
    "zero kernel": (CONV, "[-1, 1, Conv, [64, 0, 2]]"),
    "kernel none": (CONV, "[-1, 1, Conv, [64, None, 2]]"),
    "kernel a fraction": (CONV, "[-1, 1, Conv, [64, 2.5, 2]]"),
    "too many arguments": (CONV, "[-1, 1, Conv, [64, 3, 2, 1, 1, 1]]"),
    "repeated convolution": (CONV, "[-1, 2, Conv, [64, 3, 2]]"),
    "negative repeats": (STAGE, "[-1, -3, C2f, [128, True]]"),
    "upsampling to a size": ('[None, 2, "nearest"]', '[[40, 40], None, "nearest"]'),
    "upsampling in another way": ('"nearest"', '"magic"'),
    "concatenation over height": ("Concat, [1]", "Concat, [2]"),
    "class count a word": ("nc: 80", "nc: many"),
    "no classes": ("nc: 80", "nc: 0"),
    "negative classes": ("nc: 80", "nc: -1"),
    "class count empty": ("nc: 80", "nc:"),
    "scale of words": ("n: [0.33, 0.25, 1024]", "n: [a, b, c]"),
    "scale too short": ("n: [0.33, 0.25, 1024]", "n: [0.33]"),
    "scale zero": ("n: [0.33, 0.25, 1024]", "n: [0.33, 0, 1024]"),
    "layer behind the head": (DETECT, DETECT + "\n  - [-1, 1, Conv, [64, 3, 2]]"),
    "two heads": (DETECT, DETECT + "\n  - " + DETECT),
    "dual head": ("nc: 80", "nc: 80\nend2end: True"),
    "another activation": ("nc: 80", "nc: 80\nactivation: nn.ReLU()"),
    "maps that do not fit": ("[[-1, 6], 1, Concat", "[[-1, 4], 1, Concat"),
}


@pytest.mark.parametrize(("old", "new"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_in_one_line(old: str, new: str) -> None:
    """A layout that cannot be what its writer meant is an error, never a guess and never a traceback."""
    assert old in YOLOV8
    with pytest.raises(EffscopeError) as caught:
        cost(from_yaml(YOLOV8.replace(old, new), "yolov8n", "a.yaml"), 64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "a: [", "3", "[]", "just text", "nc: 3", "backbone: []", "head: []", "backbone:\nhead:\n",
     "backbone: []\nhead: []", "backbone: 3\nhead: 4", "backbone: abc\nhead: def", "backbone: {a: 1}\nhead: {}",
     "\tnc: 3", "backbone: [1]\nhead: [2]", "&a [*a]", "!!python/object:os.system {}"],
)  # fmt: skip
def test_text_that_is_no_layout_is_refused(text: str) -> None:
    with pytest.raises(EffscopeError) as caught:
        from_yaml(text, "x", "a.yaml")
    assert "a.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_block_names_layer_and_choices() -> None:
    with pytest.raises(
        EffscopeError, match=r"a\.yaml, layer 2: unknown block 'C2fMagic': choose one of Conv, SCDown"
    ) as caught:
        from_yaml(YOLOV8.replace("C2f, [128, True]", "C2fMagic, [128, True]"), "x", "a.yaml")
    assert all(name in str(caught.value) for name in BLOCKS)


def test_read_yaml_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "yolov8s.yaml"
    file.write_text(YOLOV8)
    assert read_yaml(file) == layout("yolov8s")
    file.write_text("nc: 3")
    with pytest.raises(EffscopeError, match=r"yolov8s\.yaml is no model layout"):
        read_yaml(file)
