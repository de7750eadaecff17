"""One small intact weights file of each format that effscope reads, as bytes."""

from __future__ import annotations

import copy
import json
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save
from torch import Tensor, nn

from support.checkpoints import detector, saved

BESIDE = "beside.data"
"""Name of the file beside an ONNX graph."""


@dataclass(frozen=True)
class Sound:
    """An intact file.

    Attributes:
        name: Its format.
        suffix: The end of its file name.
        data: Its bytes.
        beside: Name -> bytes of the files that it needs beside it.
    """

    name: str
    suffix: str
    data: bytes
    beside: dict[str, bytes] = field(default_factory=dict)


class Net(nn.Module):
    """Layers of each kind that a reader tells apart, and a branch that stays in scripted code."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(6, 6, 3, groups=6), nn.ConvTranspose2d(6, 4, 2, 2), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)
        self.register_buffer("order", torch.arange(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(self.body(x))
        if x.shape[2] > 4:
            x = x + 1
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Net().eval()


IMAGE = (1, 3, 12, 12)


def traced(path: Path) -> None:
    torch.jit.trace(net(), torch.zeros(IMAGE), check_trace=False).save(path)


def scripted(path: Path) -> None:
    torch.jit.script(net()).save(path)


def exported(path: Path) -> None:
    torch.export.save(torch.export.export(net(), (torch.zeros(IMAGE),), strict=False), path)


def exported_by_hand(path: Path) -> None:
    """A .pt2 file with the entries that torch.export writes: torch needs seconds for the first one."""
    rows, state = {}, net().state_dict()
    with zipfile.ZipFile(path, "w") as archive:
        for n, (key, value) in enumerate(state.items()):
            archive.writestr(f"s/data/weights/weight_{n}", value.numpy().tobytes())
            sizes, strides = ([{"as_int": part} for part in parts] for parts in (value.shape, value.stride()))
            dtype = 5 if value.dtype == torch.int64 else 7
            meta = {"dtype": dtype, "sizes": sizes, "strides": strides, "storage_offset": {"as_int": 0}}
            rows[key] = {"path_name": f"weight_{n}", "is_param": n < 3, "use_pickle": False, "tensor_meta": meta}
        archive.writestr("s/data/weights/model_weights_config.json", json.dumps({"config": rows}))
        archive.writestr("s/models/model.json", json.dumps({"graph_module": program()}))
        archive.writestr("s/byteorder", "little")


def program() -> dict[str, Any]:
    """A convolution and its norm, as torch.export describes them."""
    names = ("body.0.weight", "body.1.weight", "body.1.bias", "body.1.running_mean", "body.1.running_var")
    kinds = ("parameter", "parameter", "parameter", "buffer", "buffer")
    specs = [{kind: {"arg": {"name": name}, f"{kind}_name": name}} for name, kind in zip(names, kinds, strict=True)]
    given = [named("input", "a"), *(named(name.split(".")[2], name) for name in names[1:])]
    norm_inputs = [*given, {"name": "eps", "arg": {"as_float": 1e-5}}]
    nodes = [
        call("conv2d.default", [named("input", "x"), named("weight", names[0])], "a"),
        call("batch_norm.default", norm_inputs, "b"),
    ]
    outputs = [{"as_tensor": {"name": "b"}}]
    return {"graph": {"nodes": nodes, "outputs": outputs}, "signature": {"input_specs": specs}}


def named(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "arg": {"as_tensor": {"name": value}}}


def call(function: str, inputs: list[dict[str, Any]], out: str) -> dict[str, Any]:
    made = [{"as_tensor": {"name": out}}]
    return {"target": f"torch.ops.aten.{function}", "inputs": inputs, "outputs": made, "metadata": {}}


def training_checkpoint() -> dict[str, Any]:
    """Weights, their average and the state of the optimizer, as training loops save them."""
    model, average = net(), net(1)
    state = {n: {"step": torch.tensor(1.0), "exp_avg": torch.ones_like(p)} for n, p in enumerate(model.parameters())}
    groups = [{"lr": 0.1, "betas": (0.9, 0.999), "params": list(state)}]
    return {
        "epoch": 3,
        "state_dict": model.state_dict(),
        "ema_state_dict": average.state_dict(),
        "optimizer": {"state": state, "param_groups": groups},
        "names": ["helmet", "vest"],
    }


def networks() -> dict[str, Any]:
    return {"generator": net().state_dict(), "discriminator": net(1).head.state_dict(), "optimizer_G": {"state": {}}}


def arrays() -> dict[str, Any]:
    return {"params": {key: value.numpy() for key, value in net().state_dict().items()}}


def onnx_graph() -> Any:
    """The network by hand, with an integer weight, a constant, a local function and a branch."""
    state = {key: value.numpy() for key, value in net().state_dict().items()}
    norm = [f"body.1.{role}" for role in ("weight", "bias", "running_mean", "running_var")]
    make = helper.make_node
    inner = helper.make_graph([make("Identity", ["c"], ["e"])], "inner", [], [out("e")])
    nodes = [
        make("Conv", ["x", "body.0.weight"], ["a"], name="/body/body.0/Conv"),
        make("BatchNormalization", ["a", *norm], ["b"], name="/body/body.1/BatchNormalization"),
        make("Activate", ["b"], ["c"], domain="own"),
        make("If", ["yes"], ["d"], then_branch=inner, else_branch=copy.deepcopy(inner)),
        make("DequantizeLinear", ["whole", "scale", "zero"], ["w"], axis=0),
        make("Conv", ["d", "w"], ["f"], name="/deep/deep.0/Conv", group=6),
        make("Constant", [], ["axes"], value=numpy_helper.from_array(torch.tensor([2, 3]).numpy(), "axes")),
        make("ReduceMean", ["f", "axes"], ["g"], keepdims=0),
        make("MatMul", ["g", "table"], ["y"], name="/head/MatMul"),
    ]
    numbers = {key: state[key] for key in ("body.0.weight", *norm)}
    numbers |= {"whole": torch.ones(6, 1, 3, 3, dtype=torch.int8).numpy(), "scale": torch.rand(6).numpy()}
    numbers |= {"zero": torch.zeros(6, dtype=torch.int8).numpy(), "table": torch.rand(6, 2).numpy()}
    numbers |= {"yes": torch.tensor(True).numpy()}
    held = [numpy_helper.from_array(value, key) for key, value in numbers.items()]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE)
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "Activate", ["i"], ["o"], [make("Relu", ["i"], ["o"])], sets[:1])
    graph = helper.make_graph(nodes, "g", [image], [out("y")], held)
    return helper.make_model(graph, opset_imports=sets, functions=[function])


def out(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def onnx_beside(path: Path) -> None:
    options = {"save_as_external_data": True, "location": BESIDE, "size_threshold": 0}
    onnx.save(onnx_graph(), path, **options)


def detector_file(path: Path) -> None:
    model, classes = detector()
    path.write_bytes(saved({"version": "8.4.0", "model": model, "ema": None}, classes))


FORMATS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "state dict": (".pt", lambda path: torch.save(net().state_dict(), path)),
    "whole module": (".pt", lambda path: torch.save(nn.Sequential(*list(net().children())[:2]), path)),
    "detector": (".pt", detector_file),
    "EMA and optimizer": (".pt", lambda path: torch.save(training_checkpoint(), path)),
    "several networks": (".pt", lambda path: torch.save(networks(), path)),
    "numpy arrays": (".pt", lambda path: torch.save(arrays(), path, pickle_protocol=4)),
    "TorchScript, traced": (".pt", traced),
    "TorchScript, scripted": (".pt", scripted),
    "pt2 by hand": (".pt2", exported_by_hand),
    "safetensors": (".safetensors", lambda path: path.write_bytes(save(dict(net().state_dict()), {"by": "effscope"}))),
    "ONNX": (".onnx", lambda path: onnx.save(onnx_graph(), path)),
    "ONNX with a file beside it": (".onnx", onnx_beside),
}
"""Format -> the end of its file name, and what writes it."""

SLOW_FORMATS = {"pt2": (".pt2", exported)}
"""Formats that take seconds to write."""


def sound_files(folder: Path, *, slow: bool) -> list[Sound]:
    """An intact file of each format, made in an empty folder.

    Args:
        folder: Where they are made. Nothing stays there.
        slow: Also the formats that take seconds to write.
    """
    found = []
    for name, (suffix, write) in {**FORMATS, **(SLOW_FORMATS if slow else {})}.items():
        path = folder / f"sound{suffix}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write(path)
        beside = folder / BESIDE
        held = {BESIDE: beside.read_bytes()} if beside.exists() else {}
        found.append(Sound(name, suffix, path.read_bytes(), held))
        path.unlink()
        beside.unlink(missing_ok=True)
    return found
