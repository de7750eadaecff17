"""Configs: each checks itself, typed arguments name its fields, defaults stand in one place."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effscope import api, config
from effscope.config import (
    PROXIES,
    Checked,
    DistilConfig,
    EvalConfig,
    LatencyConfig,
    LatencySettings,
    LayerCostConfig,
    RankConfig,
    RankSettings,
    SearchConfig,
    SearchSettings,
    TrainConfig,
    TrainSettings,
    configured,
    search_config,
    training_config,
)
from effscope.config.search import LESS, targets_of
from effscope.errors import EffscopeError
from effscope.searching.rules import LOOKS

CONFIGS = [
    kind for name in config.__all__ if isinstance(kind := getattr(config, name), type) and name.endswith("Config")
]
WHOLE = {
    "imgsz": 1, "epochs": 1, "base_epochs": 1, "batch": 1, "limit_train": 1, "limit_val": 1, "rounds": 1, "threads": 1,
    "cin": 1, "stride": 1, "size": 1, "max_det": 1, "images": 1, "steps": 0, "eval_every": 0, "freeze": 0,
    "unfreeze_epochs": 0,
}  # fmt: skip
"""Settings that are whole numbers -> the least value."""


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_whole_numbers_are_checked_wherever_they_stand(kind: type[Any]) -> None:
    kind()
    for field in fields(kind):
        if field.name not in WHOLE or "ImageSize" in str(field.type):  # sizes: test_image_size
            continue
        least = WHOLE[field.name]
        for wrong, said in (
            (least - 1, f"`{field.name}` must be at least {least}, got {least - 1}"),
            (1.5, f"`{field.name}` must be a whole number, got 1.5"),
            (True, f"`{field.name}` must be a whole number, got True"),
            ("8", f"`{field.name}` must be a whole number, got '8'"),
        ):
            with pytest.raises(EffscopeError) as caught:
                kind(**{field.name: wrong})
            assert str(caught.value) == said


@pytest.mark.parametrize(
    "kind", [kind for kind in CONFIGS if issubclass(kind, Checked)], ids=lambda kind: kind.__name__
)
def test_every_check_is_of_a_field(kind: type[Checked]) -> None:
    assert set(kind.CHECKS) <= {field.name for field in fields(kind)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        (TrainConfig, {"imgsz": 65}, "`imgsz` must be a multiple of 32, got 65"),
        (TrainConfig, {"seed": 2**63}, "`seed` must fit in 63 bits"),
        (LatencyConfig, {"seed": "a"}, "`seed` must be a whole number, got 'a'"),
        (LatencyConfig, {"runtime": "tvm"}, "unknown `runtime` 'tvm': choose one of torch, onnx"),
        (RankConfig, {"at": "end"}, "unknown `at` 'end': choose one of stage, block, all"),
        (SearchConfig, {"moves": ("prune",)}, "unknown `moves` 'prune': choose one of cib, cib-lk, slim-75"),
        (SearchConfig, {"target": ("params=-130%",)}, "`target` must be like params=-30%"),
        (SearchConfig, {"margin": 1.0}, "`margin` must be a fraction, at least 0 and below 1 (0.01"),
        (SearchConfig, {"margin": float("nan")}, "is one AP point), got nan"),
        (EvalConfig, {"convention": "voc"}, "unknown `convention` 'voc': choose one of coco, ultralytics"),
        (LayerCostConfig, {"layers": 1}, "unknown setting 'layers': did you mean `layer`?"),
        (LayerCostConfig, {"kind": 1}, "unknown setting 'kind': choose one of layer, cin"),
    ],
)
def test_wrong_values_are_named(kind: type[Any], wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(EffscopeError) as caught:
        configured(kind, wrong)
    assert said in str(caught.value)


TYPED = [
    (TrainSettings, TrainConfig, set()),
    (SearchSettings, SearchConfig, {"base"}),
    (LatencySettings, LatencyConfig, {"imgsz"}),
]


@pytest.mark.parametrize(("settings", "kind", "apart"), TYPED, ids=lambda value: getattr(value, "__name__", ""))
def test_typed_arguments_are_the_fields_of_the_config(settings: Any, kind: type[Any], apart: set[str]) -> None:
    """`help`, mypy and editors show what the config takes."""
    assert set(settings.__annotations__) | apart == {field.name for field in fields(kind)}
    for name, hint in get_type_hints(settings).items():
        default = next(field for field in fields(kind) if field.name == name).default
        if default is not MISSING and default is not None:
            kinds = ("Sequence", "tuple") if isinstance(default, tuple) else (type(default).__name__,)
            assert any(word in str(hint) for word in kinds), name


def test_typed_arguments_of_ranks_are_those_of_rank() -> None:
    import inspect

    assert set(RankSettings.__annotations__) == set(inspect.signature(api.rank).parameters) - {
        "model",
        "progress",
        "say",
    }


def test_sizes_come_from_the_data_unless_they_are_given() -> None:
    for data, size in (("builtin:shapes", PROXIES["builtin"]), ("data.yaml", PROXIES["data"])):
        found = training_config({"data": data, "batch": None})
        assert (found.imgsz, found.epochs, found.batch) == (size.imgsz, size.base_epochs, size.batch)
        searched = search_config({"data": data})
        assert (searched.base_epochs, searched.epochs) == (size.base_epochs, size.epochs)
    assert training_config({"epochs": 40}).eval_every == 4
    assert training_config({"epochs": 3}).eval_every == 1
    assert training_config({"eval_every": 0}).eval_every == 0
    assert search_config({"proxy_recipe": "paper"}).proxy_recipe.optimizer == "sgd"


@pytest.mark.parametrize(
    "call",
    [
        lambda: api.latency("yolov8n", nonsense=1),
        lambda: api.train("yolov8n", nonsense=1),
        lambda: api.search("yolov8n", nonsense=1),
        lambda: api.ranks(["yolov8n"], nonsense=1),
    ],
)
def test_an_unknown_setting_is_an_error_of_effscope(call: Any) -> None:
    with pytest.raises(EffscopeError, match="unknown setting 'nonsense': choose one of"):
        call()


@pytest.mark.parametrize("rate", [0, -1.0, float("nan"), float("inf"), True, "1"])
def test_a_rate_is_a_number_above_zero(rate: Any) -> None:
    with pytest.raises(EffscopeError, match="`lr` must be a number above 0"):
        DistilConfig(lr=rate)


@pytest.mark.parametrize("runs", [4, 6, 1, "3"])
def test_runs_are_those_that_the_rule_can_judge(runs: Any) -> None:
    assert config.search.RUNS == LOOKS
    with pytest.raises(EffscopeError, match="`runs` must be 2, 3 or 5 with the rule noninferior, got"):
        search_config({"runs": runs})
    assert [search_config({"runs": n}).runs for n in LOOKS] == [2, 3, 5]
    assert search_config({"runs": 4, "rule": "margin"}).runs == 4  # it takes one run, whatever is allowed


@settings(max_examples=30)
@given(st.integers(1, 99), st.sampled_from(sorted(LESS)))
def test_a_target_has_a_minus(percent: int, cost: str) -> None:
    assert targets_of(f"{cost}=-{percent}%") == {cost: percent / 100}
    with pytest.raises(EffscopeError, match=f"with a minus: write {cost}=-{percent}%, got '{cost}={percent}%'"):
        search_config({"target": f"{cost}={percent}%"})
