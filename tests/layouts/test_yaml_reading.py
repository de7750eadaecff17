"""Files in Ultralytics' format: their scale, keys, heads and arguments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.yaml_layouts import YOLOV8, detector

from effscope.errors import EffscopeError
from effscope.layouts.ultralytics_yaml.layout_yaml import from_yaml, open_yaml, read_yaml, to_yaml
from effscope.layouts.ultralytics_yaml.tables import ACTIVATIONS
from effscope.layouts.zoo.catalog import layout
from effscope.spec.layout import IMAGE, Scale

YOLOV8_SIZES = [f"yolov8{letter}" for letter in "nsmlx"]


@pytest.mark.parametrize("name", YOLOV8_SIZES)
def test_the_published_file_is_the_built_in_model(name: str) -> None:
    assert from_yaml(YOLOV8, name) == layout(name)


@pytest.mark.parametrize("style", [None, True, False])
def test_the_style_of_the_text_does_not_matter(style: bool | None) -> None:
    text = yaml.safe_dump(yaml.safe_load(YOLOV8), default_flow_style=style, sort_keys=False)
    assert from_yaml(text, "yolov8s") == layout("yolov8s")
    assert from_yaml("\ufeff" + text.replace("\n", "\r\n"), "yolov8s") == layout("yolov8s")


STEMS = {
    "yolov8m": "m", "yolov8": "n", "yolo11x": "x", "my-yolov8l-640": "l", "best": "n", "yoloe-v8s": "s",
    "yolov8s-p2": "s", "yolov10b": "n", "model_s": "n",
}  # fmt: skip


@pytest.mark.parametrize(("stem", "letter"), STEMS.items())
def test_the_scale_is_read_from_the_name_as_ultralytics_does(stem: str, letter: str, tmp_path: Path) -> None:
    (tmp_path / f"{stem}.yaml").write_text(YOLOV8)
    read = open_yaml(tmp_path / f"{stem}.yaml")
    assert read.layout.scale.name == letter
    first = letter == "n"
    assert read.note == f"scale {letter}, " + ("the first of n, s, m, l, x: its name has no letter" if first else
                                               "from its name")  # fmt: skip


def test_a_name_with_a_scale_that_the_file_lacks_is_refused() -> None:
    only = YOLOV8.replace("  n: [0.33, 0.25, 1024]\n", "")
    with pytest.raises(EffscopeError, match=r"a\.yaml, line 4: the name asks for scale 'n', the file has s, m, l, x"):
        from_yaml(only, "yolov8n", "a.yaml")
    assert (
        detector("[-1, 1, Conv, [16, 3, 2]]", top="nc: 2\nscales: {s: [1, 0.5, 64]}", name="yolov8n").scale.name == "s"
    )


def test_the_key_scale_chooses_if_the_name_has_no_letter() -> None:
    assert from_yaml(YOLOV8 + "scale: l\n", "best") == replace(from_yaml(YOLOV8, "yolov8l"), name="best")
    assert from_yaml(YOLOV8 + "scale: l\n", "yolov8s").scale.name == "s"


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
def test_activations_are_read_and_written(call: str, primitive: str) -> None:
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
def test_other_activations_are_refused_and_not_evaluated(call: str) -> None:
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
def test_heads_are_read_and_written(keys: str, module: str, args: tuple[Any, ...]) -> None:
    text = YOLOV8.replace("Detect, [nc]", f"{module}, [nc]") + keys
    model = from_yaml(text, "yolov8n")
    assert model.layers[-1].args == args
    assert from_yaml(to_yaml(model), "yolov8n") == model
    assert from_yaml(text.replace("[nc]", "[80]"), "yolov8n") == model


@pytest.mark.parametrize("stage", ["C2fCIB, [1024, True]", "C3k2, [1024, False]", "A2C2f, [1024, True, 1]"])
def test_some_blocks_give_the_light_class_head(stage: str) -> None:
    model = from_yaml(YOLOV8.replace("C2f, [1024]", stage), "yolov8n")
    assert model.layers[-1].args == ("nc", "light")
    assert from_yaml(to_yaml(model), "yolov8n") == model


@pytest.mark.parametrize("letter", "nsmlx")
def test_rules_that_depend_on_the_scale(letter: str) -> None:
    text = YOLOV8.replace("C2f, [512]", "C3k2, [512, False, 0.25]").replace("C2f, [512, True]", "A2C2f, [512, True, 4]")
    model = from_yaml(text, f"yolov8{letter}")
    assert model.layers[12].args == (512, letter in "mlx", 0.25)
    assert model.layers[6].args == ((512, True, 4, True, 1.2) if letter in "lx" else (512, True, 4))
    assert from_yaml(to_yaml(model), "any name") == replace(model, name="any name")


def test_words_in_arguments() -> None:
    """Text that Ultralytics replaces or evaluates: numbers of the file, None, True, numbers in quotes."""
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


def test_keys_that_change_nothing_are_ignored() -> None:
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
