"""The base of a search: what it takes from given weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_detector import CLASSES, coloured_squares
from support.tiny_search import SETTINGS, tiny_place

from effscope import api
from effscope.checkpoint.read import read_checkpoint
from effscope.checkpoint.write import write_safetensors
from effscope.config import SearchConfig
from effscope.data.write import write_yolo
from effscope.layouts.expand import expand
from effscope.layouts.moves import move
from effscope.layouts.zoo.catalog import layout
from effscope.models.file_metadata import metadata
from effscope.models.open import open_model
from effscope.nn.build import build
from effscope.recipes import RECIPES
from effscope.searching.base import without_class_towers
from effscope.searching.context import Context
from effscope.spec.layout import Layout


@pytest.mark.parametrize("name", ["yolov3-tiny", "yolov5n", "yolov8n", "yolov9t", "yolov10n", "yolo11n"])
def test_only_the_heads_class_towers_are_left_out(name: str) -> None:
    """Closing convolutions of other blocks have the same name, cv3."""
    found = layout(name, 5)
    state = build(expand(found)).state_dict()
    head = len(found.layers) - 1
    left = state.keys() - without_class_towers(state, found).keys()
    assert left == {key for key in state if key.split(".")[1] == str(head) and "cv3" in key.split(".")[2]}
    assert left


def weights(folder: Path, made: Layout, classes: tuple[str, ...] = CLASSES) -> Path:
    network = build(expand(made), 3)
    file = folder / "given.safetensors"
    write_safetensors(file, network.state_dict(), metadata(made, classes, 64))
    return file


@pytest.mark.slow
def test_both_heads_of_a_dual_base_are_fitted(tmp_path: Path) -> None:
    """The one-to-one head is the one that is used."""
    place = tiny_place(tmp_path)
    dual = move(open_model(str(place / "tiny.yaml")).layout, "nms-free")
    settings: dict[str, Any] = {**SETTINGS, "learned_ap": 0.0, "epochs": 1, "limit_train": 8, "limit_val": 4}
    base = weights(place, replace(dual, nc=2))
    result = api.search(str(base), data=str(place / "data" / "data.yaml"), out=place / "out", **settings)
    assert any(note.startswith("light head: in closed form, error ") for note in result.notes)
    (file,) = (place / "out" / "work").glob("base-*.safetensors")
    found, fresh = read_checkpoint(file).state, build(expand(move(replace(dual, nc=2), "light-head")), 0).state_dict()
    for head in ("cv3", "one2one_cv3"):
        fitted = [key for key in found if f".{head}." in key and key.endswith("conv.weight")]
        assert fitted
        assert not any(torch.equal(found[key], fresh[key]) for key in fitted)


def test_the_same_classes_in_another_order_are_the_same_classes(tmp_path: Path) -> None:
    """Labels follow the order of the weights."""
    place = tiny_place(tmp_path)
    base = weights(place, replace(open_model(str(place / "tiny.yaml")).layout, nc=2), CLASSES[::-1])
    config = SearchConfig(base=str(base), data=str(place / "data" / "data.yaml"))
    context = Context(config, 1, "cpu")
    assert context.fits
    assert context.classes == CLASSES[::-1]
    plain = Context(replace(config, base=str(place / "tiny.yaml")), 1, "cpu")
    assert plain.classes == CLASSES
    for own, other in zip(context.splits, plain.splits, strict=True):
        for a, b in zip(own.samples, other.samples, strict=True):
            assert (a.labels == 1 - b.labels).all()


def test_a_model_that_knows_the_classes_teaches_the_short_trainings(tmp_path: Path) -> None:
    place = tiny_place(tmp_path)
    base = weights(place, replace(open_model(str(place / "tiny.yaml")).layout, nc=2))
    config = SearchConfig(base=str(base), data=str(place / "data" / "data.yaml"))
    assert Context(config, 1, "cpu").proxy_recipe == replace(RECIPES["gentle"], distil_gain=1.0)
    assert Context(replace(config, base="yolov8n"), 1, "cpu").proxy_recipe == RECIPES["quick"]
    chosen = RECIPES["gentle"]
    assert Context(replace(config, proxy_recipe=chosen), 1, "cpu").proxy_recipe == chosen


def test_other_classes_are_other_classes(tmp_path: Path) -> None:
    yaml = write_yolo([coloured_squares(4), coloured_squares(4, "val", seed=3)], tmp_path / "data")
    base = weights(tmp_path, layout("yolov8n", 2), ("crimson", CLASSES[1]))
    context = Context(SearchConfig(base=str(base), data=str(yaml)), 1, "cpu")
    assert not context.fits
    assert context.classes == CLASSES
