"""Checkpoints made of classes that are not installed."""

from __future__ import annotations

import io
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

TorchZip = Callable[..., Path]
"""The fixture `torch_zip`."""


@contextmanager
def foreign_modules(*classes: type) -> Iterator[None]:
    """Make classes importable under their `__module__` while a file is saved, and gone afterwards."""
    before = dict(sys.modules)
    for cls in classes:
        parts = cls.__module__.split(".")
        for n in range(1, len(parts) + 1):
            name = ".".join(parts[:n])
            sys.modules.setdefault(name, types.ModuleType(name))
        setattr(sys.modules[cls.__module__], cls.__qualname__, cls)
    try:
        yield
    finally:
        for name in set(sys.modules) - set(before):
            del sys.modules[name]


def foreign_class(full_name: str, base: type = nn.Module) -> type:
    """A class that believes to live in a package that is not installed."""
    module, name = full_name.rsplit(".", 1)
    return type(name, (base,), {"__module__": module, "__qualname__": name})


def detector(package: str = "ultralytics") -> tuple[nn.Module, tuple[type, ...]]:
    """A tiny module tree with the attributes of a YOLO checkpoint, and the classes to save it with."""
    names = {
        "ultralytics": ("ultralytics.nn.tasks.DetectionModel", "ultralytics.nn.modules.conv.Conv"),
        "yolov5": ("models.yolo.Model", "models.common.Conv"),
    }[package]
    model_class, conv_class = (foreign_class(name) for name in names)
    layers = []
    for i in range(2):
        conv = conv_class()
        conv.conv, conv.bn, conv.act = nn.Conv2d(3, 3, 3, bias=False), nn.BatchNorm2d(3), nn.SiLU()
        conv.i, conv.f, conv.type, conv.np = i, -1, names[1], 87
        conv.register_buffer("scratch", torch.zeros(2), persistent=False)
        layers.append(conv)
    model = model_class()
    model.model = nn.Sequential(*layers)
    model.names, model.stride = {0: "helmet", 1: "vest"}, torch.tensor([8.0, 16.0, 32.0])
    model.yaml = {"nc": 2, "backbone": [[-1, 1, "Conv", [3, 3]]]}
    model.nc, model.add, model.save = 2, True, [4, 6]
    model.criterion = foreign_class("ultralytics.utils.loss.Loss", object)()
    return model, (model_class, conv_class, type(model.criterion))


def saved(value: Any, classes: tuple[type, ...], **options: Any) -> bytes:
    """The bytes torch.save writes for a value made of foreign classes."""
    stream = io.BytesIO()
    with foreign_modules(*classes):
        torch.save(value, stream, **options)
    return stream.getvalue()
