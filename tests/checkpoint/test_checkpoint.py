"""Weights files, good and broken. Hostile files are in test_checkpoint_hostile.py."""

from __future__ import annotations

import os
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.checkpoints import TorchZip, detector, saved
from torch import nn

from effscope.checkpoint.contents import Checkpoint
from effscope.checkpoint.read import read_checkpoint
from effscope.checkpoint.write import write_safetensors, write_state_dict
from effscope.errors import EffscopeError

BUFFER_ENDINGS = (".running_mean", ".running_var", ".num_batches_tracked")


def assert_same_tensors(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Same keys in the same order, same dtypes and shapes, same bits."""
    assert list(got) == list(wanted)
    for key, tensor in wanted.items():
        assert got[key].dtype == tensor.dtype, key
        assert torch.equal(got[key], tensor), key


def error_of(path: Path) -> str:
    """The error of one line of a file that cannot be read."""
    with pytest.raises(EffscopeError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(("package", "words"), [("ultralytics", "Ultralytics 8.4.0"), ("yolov5", "YOLOv5")])
def test_a_pickled_detector_is_read_without_its_package(tmp_path: Path, package: str, words: str) -> None:
    model, classes = detector(package)
    path = tmp_path / "best.pt"
    path.write_bytes(saved({"version": "8.4.0", "epoch": -1, "ema": None, "model": model.half()}, classes))
    read = read_checkpoint(path)
    assert read.kind == package
    assert_same_tensors(read.state, model.state_dict())
    assert read.state["model.0.conv.weight"].dtype == torch.float16
    assert read.class_names == ("helmet", "vest")
    assert read.own_yaml == {"nc": 2, "backbone": [[-1, 1, "Conv", [3, 3]]]}
    assert words in read.source and "(model weights), read without running it" in read.source


def test_module_records_follow_the_tree_and_hold_plain_values(tmp_path: Path) -> None:
    model, classes = detector()
    path = tmp_path / "best.pt"
    path.write_bytes(saved({"model": model}, classes))
    modules = read_checkpoint(path).modules
    assert [record.path for record in modules] == [name for name, _ in model.named_modules()]
    by_path = {record.path: record for record in modules}
    assert by_path[""].scalars == {"stride": [8.0, 16.0, 32.0], "nc": 2, "add": True, "save": [4, 6]}
    conv = by_path["model.1"]
    assert conv.class_name == "ultralytics.nn.modules.conv.Conv"
    assert conv.scalars == {"i": 1, "f": -1, "type": "ultralytics.nn.modules.conv.Conv", "np": 87}
    assert all(type(value) in (int, str) for value in conv.scalars.values())
    assert by_path["model.0.conv"].scalars["kernel_size"] == (3, 3)


def test_ema_is_preferred_as_ultralytics_does(tmp_path: Path) -> None:
    (model, classes), path = detector(), tmp_path / "best.pt"
    ema, ema_classes = detector()
    first = saved({"model": model, "ema": None}, classes)
    path.write_bytes(first)
    assert "(model weights)" in read_checkpoint(path).source
    path.write_bytes(saved({"model": None, "ema": ema}, ema_classes))
    read = read_checkpoint(path)
    assert "(EMA weights)" in read.source
    assert_same_tensors(read.state, ema.state_dict())


def test_other_pickled_module_and_data_parallel(tmp_path: Path) -> None:
    net, path = nn.Sequential(nn.Linear(3, 2), nn.ReLU()), tmp_path / "whole.pt"
    torch.save(nn.DataParallel(net), path)
    read = read_checkpoint(path)
    assert read.kind == "state_dict" and "Sequential" in read.source
    assert_same_tensors(read.state, net.state_dict())


State = dict[str, torch.Tensor]
STATE_WRAPPERS: dict[str, tuple[Callable[[State], object], str]] = {
    "plain": (lambda s: s, "state dict"),
    "state_dict": (lambda s: {"state_dict": s, "epoch": 3}, "state dict under 'state_dict'"),
    "model_state_dict": (lambda s: {"model_state_dict": s}, "state dict under 'model_state_dict'"),
    "model": (lambda s: {"model": s, "optimizer": {"state": {}}}, "state dict under 'model'"),
    "ddp": (lambda s: {f"module.{k}": v for k, v in s.items()}, "prefix 'module.' removed"),
    "compiled": (lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()}, "prefix 'module._orig_mod.'"),
    "yolo_object": (lambda s: {f"model.{k}": v for k, v in s.items()}, "prefix 'model.'"),
    "with_extra": (lambda s: {**s, "epoch": 3}, "1 entries that are not tensors left out"),
}


@pytest.mark.parametrize("name", STATE_WRAPPERS)
def test_state_dicts_in_all_wrappers(tmp_path: Path, name: str) -> None:
    state = dict(detector()[0].state_dict())
    wrap, words = STATE_WRAPPERS[name]
    path = tmp_path / "state.pt"
    torch.save(wrap(state), path)
    read = read_checkpoint(path)
    assert read.kind == "state_dict" and words in read.source and read.modules == ()
    assert_same_tensors(read.state, state)


DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 uint16 bool complex64 float8_e4m3fn"


@pytest.mark.parametrize("dtype", DTYPES.split())
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_every_dtype_and_pickle_protocol(tmp_path: Path, dtype: str, protocol: int) -> None:
    tensor = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]).to(getattr(torch, dtype))
    path = tmp_path / "x.pt"
    torch.save({"a": tensor, "b": nn.Parameter(torch.ones(2))}, path, pickle_protocol=protocol)
    state = read_checkpoint(path).state
    assert state["a"].dtype == tensor.dtype and not state["b"].requires_grad
    assert torch.equal(state["a"].view(torch.uint8), tensor.view(torch.uint8))


def test_views_scalars_empty_and_shared_tensors(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    state = {"t": whole.T, "part": whole[1:, 2:], "scalar": torch.tensor(3), "none": torch.zeros(0, 4), "all": whole}
    path = tmp_path / "x.pt"
    torch.save(state, path)
    read = read_checkpoint(path).state
    assert_same_tensors(read, state)
    assert read["t"].untyped_storage().data_ptr() == read["all"].untyped_storage().data_ptr()


def test_other_values_in_the_file_stay_inert(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    made, classes = detector()
    model: Any = made
    model.score, model.where, model.big = numpy.float64(0.5), Path("/tmp/x"), torch.zeros(100)
    model.device, model.shape = torch.device("cpu"), torch.Size([1, 3])
    model.names = ["a", "b"]
    path = tmp_path / "x.pt"
    path.write_bytes(saved({"model": model, "fitness": numpy.float32(1), "d": torch.float16}, classes))
    read = read_checkpoint(path)
    scalars = read.modules[0].scalars
    assert scalars["score"] == 0.5 and type(scalars["score"]) is float and scalars["shape"] == (1, 3)
    assert not {"where", "big", "device"} & set(scalars)
    assert read.class_names == ("a", "b")


def test_deflated_archive_is_read(tmp_path: Path) -> None:
    state = {"w": torch.randn(20)}
    torch.save(state, tmp_path / "stored.pt")
    with (
        zipfile.ZipFile(tmp_path / "stored.pt") as old,
        zipfile.ZipFile(tmp_path / "new.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert_same_tensors(read_checkpoint(tmp_path / "new.pt").state, state)


def test_safetensors_round_trip_and_damage(tmp_path: Path) -> None:
    state = {"b": torch.randn(3, 2).half(), "a": torch.arange(4), "view": torch.randn(4, 4).T}
    path = tmp_path / "w.safetensors"
    write_safetensors(path, state, {"layout": "yolov8n"})
    read = read_checkpoint(path)
    assert read.kind == "safetensors" and read.metadata == {"layout": "yolov8n"}
    assert_same_tensors(dict(sorted(read.state.items())), dict(sorted(state.items())))
    whole = path.read_bytes()
    for n_bytes in (9, 40, len(whole) - 1):
        path.write_bytes(whole[:n_bytes])
        assert "damaged or cut safetensors" in error_of(path)


def test_written_state_dict_opens_in_torch_and_here(tmp_path: Path) -> None:
    state = {"b.w": nn.Parameter(torch.randn(2, 3).T), "a": torch.ones(8)[:2]}
    path = tmp_path / "w.pt"
    write_state_dict(path, state)
    opened = torch.load(path, weights_only=True)
    assert isinstance(opened, OrderedDict) and opened["b.w"].is_contiguous()
    assert opened["a"].untyped_storage().nbytes() == 8
    assert_same_tensors(read_checkpoint(path).state, dict(opened))


@pytest.mark.parametrize("write", [write_state_dict, lambda path, state: write_safetensors(path, state, {})])
def test_a_value_that_is_no_tensor_is_refused(tmp_path: Path, write: Callable[[Path, object], None]) -> None:
    with pytest.raises(EffscopeError, match="'a' is not a tensor"):
        write(tmp_path / "w", {"a": 3})
    assert list(tmp_path.iterdir()) == []


BROKEN = {
    "html": (b"<!DOCTYPE html>\n<html>x", "web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 77\n", "git-lfs pointer of a file of 77"),
    "python": (b'print("hello")\n', "Python source"),
    "python2": (b"# a script\nimport torch\n", "Python source"),
    "newline": (b"\n", "only an empty line"),
    "empty": (b"", "empty (0 bytes)"),
    "xml": (b"<?xml version='1.0'?><Error/>", "XML"),
    "json": (b'{"message": "Not Found"}', "JSON"),
    "text": (b"not found", "text file"),
    "png": (b"\x89PNG\r\n\x1a\n\x00\x00", "an image (PNG)"),
    "noise": (b"\x01\x02\x03\x04" * 9, "not a weights file"),
    "pickle": (b"\x80\x04N.", "plain pickle"),
    "zip_cut": (b"PK\x03\x04" + bytes(99), "end is missing"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_of_other_kinds_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(BROKEN[name][0])
    assert BROKEN[name][1] in error_of(path)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch.jit, which people's files still come from
def test_missing_folder_pipe_and_other_archives(tmp_path: Path) -> None:
    assert "no such file" in error_of(tmp_path / "none.pt")
    assert "is a folder" in error_of(tmp_path)
    os.mkfifo(tmp_path / "pipe.pt")
    assert "a device or a pipe" in error_of(tmp_path / "pipe.pt")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    assert "not by torch.save" in error_of(tmp_path / "a.zip")
    torch.save({"a": torch.ones(1)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert "before torch 1.6" in error_of(tmp_path / "old.pt")
    trace: Any = torch.jit.trace
    torch.jit.save(trace(nn.ReLU(), torch.ones(1)), tmp_path / "script.pt")
    assert "holds no weights" in error_of(tmp_path / "script.pt")


@pytest.mark.parametrize("content", [{"epoch": 3, "lr": 0.1}, [1, 2], None, {}, "text"])
def test_archive_without_weights(torch_zip: TorchZip, content: object) -> None:
    assert "no model and no state dict" in error_of(torch_zip(content))


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.9, 0.999])
def test_cut_archive(tmp_path: Path, fraction: float) -> None:
    path = tmp_path / "x.pt"
    torch.save(detector()[0].state_dict(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
    assert re.search("end is missing or damaged, cut at", error_of(path))


def test_real_yolov8n_equals_its_state_dict(shared: Path) -> None:
    folder = shared / "data" / "weights"
    read = read_checkpoint(folder / "yolov8n_coco.pt")
    wanted = torch.load(folder / "yolov8n_coco_state_dict.pt", weights_only=True)
    assert read.kind == "ultralytics" and read.class_names is not None and len(read.class_names) == 80
    assert_same_tensors(read.state, wanted)
    n_params = sum(t.numel() for key, t in read.state.items() if not key.endswith(BUFFER_ENDINGS))
    assert n_params == 3_157_200
    assert_same_tensors(read_checkpoint(folder / "yolov8n_coco_state_dict.pt").state, wanted)


REAL = {"LeYOLONano.pt": ("ultralytics", 80, "mn_conv"), "yolov5n_ppe_yolov5repo.pt": ("yolov5", 2, "C3")}


@pytest.mark.parametrize("name", REAL)
def test_real_forks_are_read(shared: Path, name: str) -> None:
    kind, n_classes, a_class = REAL[name]
    read: Checkpoint = read_checkpoint(shared / "data" / "weights" / name)
    assert read.kind == kind and read.class_names is not None and len(read.class_names) == n_classes
    assert any(record.class_name.endswith(f".{a_class}") for record in read.modules)
    assert len(read.state) > 300 and all(bool(t.isfinite().all()) for t in read.state.values())


def test_real_broken_files_each_have_their_own_line(shared: Path) -> None:
    paths = sorted((shared / "data" / "weights" / "bad").iterdir())
    assert len({error_of(path) for path in paths}) == len(paths) >= 5


def test_real_dill_file_is_refused(shared: Path) -> None:
    (path,) = (shared / "data" / "weights" / "unsafe").iterdir()
    assert re.search(r"'dill\._dill\._load_type', which makes or runs code", error_of(path))
