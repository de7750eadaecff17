"""Functions with `**settings`: signature, `help` and errors name every setting; defaults are those of the configs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

import pytest

import effscope
from effscope.config import (
    PROXIES,
    LatencyConfig,
    LatencySettings,
    RankSettings,
    SearchConfig,
    SearchSettings,
    TrainConfig,
    TrainSettings,
    search_config,
    training_config,
)
from effscope.errors import EffscopeError

FUNCTIONS: list[tuple[Callable[..., Any], Any, Any]] = [
    (effscope.train, TrainConfig, TrainSettings),
    (effscope.search, SearchConfig, SearchSettings),
    (effscope.latency, LatencyConfig, LatencySettings),
]


@pytest.mark.parametrize(("function", "config", "typed"), FUNCTIONS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_signature_has_every_setting(function: Callable[..., Any], config: Any, typed: Any) -> None:
    parameters = inspect.signature(function).parameters
    assert not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    assert set(typed.__annotations__) <= set(parameters)
    for field in fields(config):
        if field.name in typed.__annotations__ and parameters[field.name].default is not None:
            assert parameters[field.name].default == field.default is not MISSING
    for name in typed.__annotations__:
        if parameters[name].default is None:
            assert "None" in str(parameters[name].annotation)


@pytest.mark.parametrize(("function", "config", "typed"), FUNCTIONS, ids=lambda value: getattr(value, "__name__", ""))
def test_help_describes_every_argument(function: Callable[..., Any], config: Any, typed: Any) -> None:
    doc = function.__doc__ or ""
    described = re.findall(r"^        ([a-z_]+): ", doc, re.MULTILINE)
    assert sorted(described) == sorted(inspect.signature(function).parameters)
    assert max(map(len, doc.splitlines())) <= 120
    lines = dict(re.findall(r"^        ([a-z_]+): ((?:.*\n)(?:            .*\n)*)", doc, re.MULTILINE))
    for name in typed.__annotations__:
        assert "default" in lines[name], name  # its value, or what None means


@pytest.mark.parametrize(("config", "typed"), [one[1:] for one in FUNCTIONS])
def test_every_field_has_one_line(config: Any, typed: Any) -> None:
    named = {field.name for field in fields(config)}
    assert set(typed.__annotations__) <= set(config.ABOUT) <= named
    assert all("\n" not in line and not line.endswith(".") for line in config.ABOUT.values())


def test_sizes_in_the_help_are_those_of_the_proxies() -> None:
    for make, config in ((training_config, TrainConfig), (search_config, SearchConfig)):
        for name in ("imgsz", "epochs", "batch"):
            values = [getattr(make({"data": data}), name) for data in ("d", "builtin:shapes")]
            said = config.ABOUT[name].partition("default: ")[2]
            assert said == (f"{values[0]}, with builtin:shapes {values[1]}" if len({*values}) > 1 else str(values[0]))
    assert str(PROXIES["data"].base_epochs) in SearchConfig.ABOUT["base_epochs"]


def test_ranks_shows_the_arguments_of_rank() -> None:
    one, several = (inspect.signature(function).parameters for function in (effscope.rank, effscope.ranks))
    for name in RankSettings.__annotations__:
        assert several[name].default == one[name].default


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: effscope.search("yolov8n", imgsize=64), "'imgsize': did you mean `imgsz`?"),
        (lambda: effscope.train("yolov8n", epoch=3), "'epoch': did you mean `epochs`?"),
        (lambda: effscope.latency("yolov8n", round=3), "'round': did you mean `rounds`?"),
        (lambda: effscope.ranks(["yolov8n"], thresold=0.3), "'thresold': did you mean `threshold`?"),
        (lambda: effscope.train("yolov8n", zzz=1), "'zzz': choose one of data, imgsz"),
    ],
)
def test_a_wrong_keyword_names_the_nearest(call: Callable[[], Any], named: str) -> None:
    with pytest.raises(EffscopeError, match=r"^unknown setting ") as caught:
        call()
    assert named in str(caught.value)


def test_ranks_takes_one_model_too() -> None:
    (found,) = effscope.ranks("yolov8n")
    assert found.model == "yolov8n"
