from __future__ import annotations

from dataclasses import fields, replace

import pytest

from effscope.config import training_config
from effscope.errors import EffscopeError
from effscope.recipes import RECIPES, Recipe, read_recipe


@pytest.mark.parametrize("name", RECIPES)
def test_presets_read_by_name_and_are_valid(name: str) -> None:
    assert read_recipe(name) is not None
    assert read_recipe(RECIPES[name]) == read_recipe(name) == RECIPES[name]
    assert training_config({"recipe": name}).recipe == RECIPES[name]


def test_the_paper_preset_equals_the_paper() -> None:
    """arXiv 2405.14458, appendix, hyper-parameters of YOLOv10-N."""
    paper = RECIPES["paper"]
    published = {
        "optimizer": "sgd", "lr": 1e-2, "final_lr_ratio": 0.01, "momentum": 0.937, "weight_decay": 5e-4,
        "warmup_epochs": 3.0, "warmup_momentum": 0.8, "warmup_bias_lr": 0.1, "box_gain": 7.5, "cls_gain": 0.5,
        "dfl_gain": 1.5, "hsv_s": 0.7, "hsv_v": 0.4, "hsv_h": 0.015, "translate": 0.1, "scale": 0.5, "mosaic": 1.0,
        "close_mosaic_epochs": 10, "schedule": "linear",
    }  # fmt: skip
    assert {name: getattr(paper, name) for name in published} == published


def test_changes_after_a_name() -> None:
    changed = read_recipe("quick, lr=0.005,mosaic=0, warmup_momentum=0.5,optimizer=sgd,o2o_alpha=none,assign_topk=13")
    expected = replace(
        RECIPES["quick"], lr=0.005, mosaic=0.0, warmup_momentum=0.5, optimizer="sgd", o2o_alpha=None, assign_topk=13
    )
    assert changed == expected
    assert isinstance(changed.assign_topk, int)
    assert read_recipe("quick,") == RECIPES["quick"]
    assert read_recipe(Recipe(lr="0.1")) == Recipe(lr=0.1)  # type: ignore[arg-type]
    assert read_recipe({"lr": 0.1}) == replace(Recipe(), lr=0.1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("fast", "quick, plain, gentle, standard, paper"),
        ("quick,learning=1", "learning"),
        ("quick,lr=much", "lr=much is not a number"),
        ("quick,lr", "write lr=VALUE"),
        ("quick,lr=", "lr= is not a number"),
        ("quick,lr=inf", "lr is inf"),
        ("paper,momentum=0", "momentum is 0"),
        ("quick,momentum=1", "momentum is 1"),
        ("quick,scale=1", "scale is 1"),
        ({"lr": None}, "lr=None is not a number"),
        ({"lr": [1]}, "is not a number"),
        ({"assign_topk": 2.5}, "is not a whole number"),
        (5, "not 5"),
        ("quick,lr=0", "lr is 0"),
        ("quick,lr=nan", "lr is nan"),
        ("quick,assign_topk=2.5", "is not a whole number"),
        ("quick,mosaic=1.5", "mosaic is 1.5"),
        ("quick,warmup_epochs=-1", "warmup_epochs is -1"),
        ("quick,optimizer=lion", "adamw, sgd"),
        ({"schedule": "step"}, "cosine, linear"),
    ],
)
def test_impossible_values_are_refused_in_one_line(given: object, said: str) -> None:
    with pytest.raises(EffscopeError, match=said) as caught:
        read_recipe(given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_every_field_can_be_named() -> None:
    for field in fields(Recipe):
        value = getattr(Recipe(), field.name)
        assert getattr(read_recipe(f"standard,{field.name}={value}"), field.name) == value
