"""Files that are not layouts: one line each, with the line number and the choices."""

from __future__ import annotations

import pytest
from support.yaml_layouts import YOLOV8, detector

from effscope.errors import EffscopeError
from effscope.layouts.blocks.table import BLOCKS
from effscope.layouts.ultralytics_yaml.layout_yaml import from_yaml
from effscope.layouts.ultralytics_yaml.tables import NAMES, SHARED_BLOCKS, vocabulary

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
    "no repeats": ("[-1, 1, Conv, [256, 3, 2]]", "[-1, 0, Conv, [256, 3, 2]]"),
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
    "layer after the head": ("[[-1, 9], 1, Concat, [1]]", DETECT),
    "end2end a word": ("nc: 80", "end2end: perhaps\nnc: 80"),
    "bins a fraction": ("nc: 80", "reg_max: 1.5\nnc: 80"),
    "no channels in the image": ("nc: 80", "ch: 0\nnc: 80"),
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
    """A wrong layout is an error of one line, never a guess and never a traceback."""
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
    "[-1, 1, LightConv, [64, 3]]": "'LightConv' exists only in effscope: Ultralytics' YAML does not have it",
    "[-1, 1, Classify, [nc]]": "'Classify' is a head for classification",
    "[-1, 1, C2fAttn, [64, 64, 2]]": "'C2fAttn' is text-guided attention: effscope does not build that block",
    "[-1, 1, Conv, [64, three]]": "'k' must be a positive whole kernel side, got 'three'",
    "[7, 1, Conv, [64]]": "the first layer reads the image",
}


@pytest.mark.parametrize(("row", "message"), SAID.items())
def test_what_an_error_says(row: str, message: str) -> None:
    with pytest.raises(EffscopeError, match=r"a\.yaml, line 3: .*" + message):
        detector(row)


def test_the_choices_are_all_blocks_that_a_row_can_name() -> None:
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
def test_text_that_is_not_a_layout_is_refused(text: str) -> None:
    with pytest.raises(EffscopeError) as caught:
        from_yaml(text, "x", "a.yaml")
    assert "a.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_aliases_that_expand_to_very_many_values_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(EffscopeError, match=r"a\.yaml, line \d+: more than 50000 values after aliases"):
        from_yaml("\n".join(lines) + YOLOV8, "x", "a.yaml")
