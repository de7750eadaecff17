"""Fixtures that more than one test file uses."""

from __future__ import annotations

import gc
import io
import pickle
import sys
import types
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_limits
from torch import nn

gc.freeze = lambda: None  # commands do it for a process that ends with them; this one goes on
torch.set_num_threads(1)  # as the peers have: another number sums in another order, and random nets amplify that
threadpool_limits(1, "blas")  # two workers with two LAPACK threads each take minutes over small matrices

TorchZip = Callable[..., Path]


@pytest.fixture
def shared(request: pytest.FixtureRequest) -> Path:
    """The folder of real data beside the repository; a test that asks for it is skipped without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{request.node.name} needs the real files in {folder}")
    return folder


@pytest.fixture
def torch_zip(tmp_path: Path) -> TorchZip:
    """Writes a torch-like zip from a pickle (bytes, or a value to pickle) and storages by key."""

    def write(content: Any, storages: Mapping[str, bytes] | None = None, **options: Any) -> Path:
        raw = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
        path = tmp_path / "made.pt"
        with zipfile.ZipFile(path, "w", **options) as archive:
            archive.writestr("archive/data.pkl", raw)
            archive.writestr("archive/version", "3\n")
            for key, data in (storages or {}).items():
                archive.writestr(f"archive/data/{key}", data)
        return path

    return write


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
