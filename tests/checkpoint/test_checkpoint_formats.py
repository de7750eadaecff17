"""Weights in TorchScript, torch.export and ONNX files are read without running the files. File names do not matter."""

from __future__ import annotations

import random
import shutil
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support.golden_files import lively
from torch import Tensor, nn

from effscope import api
from effscope.checkpoint.identify.by_tensors import identify, recognise, same_model, unfolded
from effscope.checkpoint.identify.yolox_keys import from_yolox_keys
from effscope.checkpoint.read import read_checkpoint
from effscope.checkpoint.write import write_safetensors
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.models.file_metadata import metadata
from effscope.models.open import open_model
from effscope.nn.build import build
from effscope.nn.fuse import deploy
from effscope.results import TensorsResult


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1))
        self.head = nn.Linear(4, 2)
        self.register_buffer("order", torch.arange(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(2)
    made = Net().eval()
    made.body[1].running_mean.uniform_()  # type: ignore[union-attr, operator]
    return made


IMAGE = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def files(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each kind, with a neutral file name."""
    folder = tmp_path_factory.mktemp("formats")
    made = {kind: folder / f"{kind}.bin" for kind in ("traced", "scripted", "exported", "onnx")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(net, IMAGE).save(made["traced"])
        torch.jit.script(net).save(made["scripted"])
        torch.export.save(torch.export.export(net, (IMAGE,)), folder / "a.pt2")
        shutil.move(folder / "a.pt2", made["exported"])
    onnx.save(graph_of(net), made["onnx"])
    return made


def graph_of(net: nn.Module, anonymous: bool = False) -> Any:
    """The network as an ONNX graph by hand. Initialisers have their keys as names, or no module names if anonymous."""
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    names = {"body.0.weight": "onnx::Conv_7", "body.3.weight": "onnx::Conv_8", "body.3.bias": "onnx::Conv_9"}
    called = {key: names.get(key, key) if anonymous else key for key in state}
    norm = [called[f"body.1.{role}"] for role in ("weight", "bias", "running_mean", "running_var")]
    nodes = [
        helper.make_node(
            "Conv", ["x", called["body.0.weight"]], ["a"], name="/body/body.0/Conv" if not anonymous else "/body.0/Conv"
        ),
        helper.make_node("BatchNormalization", ["a", *norm], ["b"], name="/body.1/BatchNormalization"),
        helper.make_node("Relu", ["b"], ["c"], name="/body.2/Relu"),
        helper.make_node("Conv", ["c", called["body.3.weight"], called["body.3.bias"]], ["d"], name="/body.3/Conv"),
        helper.make_node("ReduceMean", ["d", "axes"], ["e"], name="/ReduceMean", keepdims=0),
        helper.make_node("Gemm", ["e", "head.weight", "head.bias"], ["y"], name="/head/Gemm", transB=1),
    ]
    kept = [k for k in state if not k.endswith(("num_batches_tracked", "order"))]
    weights = [numpy_helper.from_array(state[key], called[key]) for key in kept]
    weights.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    shape = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 12, 12])]
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])]
    return helper.make_model(
        helper.make_graph(nodes, "g", shape, out, weights), opset_imports=[helper.make_opsetid("", 18)]
    )


@pytest.mark.parametrize(
    ("kind", "named"), [("traced", "torchscript"), ("scripted", "torchscript"), ("exported", "pt2")]
)
def test_the_state_is_that_of_the_module(kind: str, named: str, files: dict[str, Path], net: nn.Module) -> None:
    read = read_checkpoint(files[kind])
    assert read.kind == named
    own = net.state_dict()
    assert set(read.state) == set(own)
    assert all(torch.equal(read.state[key], own[key]) for key in own)
    assert "read without running it" in read.source


def test_an_onnx_graph_keeps_names_and_leaves_constants_out(files: dict[str, Path], net: nn.Module) -> None:
    read = read_checkpoint(files["onnx"])
    own = {k: v for k, v in net.state_dict().items() if not k.endswith(("num_batches_tracked", "order"))}
    assert set(read.state) == set(own)
    assert all(torch.equal(read.state[key], own[key]) for key in own)
    assert "1 constants left out" in read.source


def test_initialisers_without_names_get_the_name_of_their_node(net: nn.Module, tmp_path: Path) -> None:
    onnx.save(graph_of(net, anonymous=True), tmp_path / "a.onnx")
    read = read_checkpoint(tmp_path / "a.onnx")
    own = net.state_dict()
    for key in ("body.0.weight", "body.3.weight", "body.3.bias", "head.weight"):
        assert torch.equal(read.state[key], own[key])


@pytest.mark.parametrize("per_channel", [False, True])
def test_quantised_weights_are_converted_to_float(net: nn.Module, tmp_path: Path, per_channel: bool) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter([{"x": IMAGE.numpy()}, {"x": 1 - IMAGE.numpy()}])

        def get_next(self) -> Any:
            return next(self.left, None)

    onnx.save(graph_of(net), tmp_path / "a.onnx")
    for form in (QuantFormat.QDQ, QuantFormat.QOperator):
        target = tmp_path / f"{form.name}.onnx"
        quantize_static(
            tmp_path / "a.onnx", target, Images(), quant_format=form, per_channel=per_channel,
            weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
        )  # fmt: skip
        read = read_checkpoint(target)
        for key in ("body.0.weight", "body.3.weight"):
            own = net.state_dict()[key]
            step = float(own.abs().max()) / 127
            assert (read.state[key] - own).abs().max() <= step * 0.51, (form, key)


def test_an_exported_onnx_detector_opens_as_the_same_detector(tmp_path: Path) -> None:
    made = layout("yolov8n", 3)
    network = lively(made)
    write_safetensors(tmp_path / "m.safetensors", network.state_dict(), metadata(made, ("a", "b", "c"), 64))
    file = api.export(str(tmp_path / "m.safetensors"), "onnx", tmp_path).files["onnx"]
    opened = open_model(file)
    assert same_model(opened.layout, made)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = (n(images)["decoded"][0] for n in (opened.network().eval(), network))
    assert (ours - theirs).abs().max() < 1e-2
    ranks = [[(r.stage, r.rank) for r in api.rank(p).stages] for p in (file, str(tmp_path / "m.safetensors"))]
    assert ranks[0] == ranks[1]


@pytest.mark.parametrize("name", ["yolov8n", "yolo11n", "yolov5n"])
def test_folded_state_dicts_are_recognised_and_give_the_same_outputs(name: str) -> None:
    network = lively(layout(name, 4))
    folded = deploy(network).state_dict()
    assert recognise(folded) is None
    found = recognise(unfolded(folded))
    assert found is not None
    assert same_model(found, layout(name, 4))
    again = build(expand(found)).eval()
    again.load_state_dict(unfolded(folded), strict=False)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(again(images)["decoded"][0], network(images)["decoded"][0], rtol=1e-4, atol=1e-2)


def test_a_yolox_checkpoint_is_renamed_and_takes_rgb_images(tmp_path: Path) -> None:
    made = layout("yolox-nano", 5)
    network = lively(made)
    ours = network.state_dict()
    theirs = OrderedDict()
    back = {ours_key: key for key, ours_key in ((k, next(iter(from_yolox_keys({k: 0})))) for k in yolox_keys(ours))}
    for key, value in ours.items():
        theirs[back[key]] = value
    stem = "backbone.backbone.stem.conv.conv.weight"
    theirs[stem] = theirs[stem].unflatten(1, (4, 3)).flip(2).flatten(1, 2) / 255
    torch.save({"start_epoch": 3, "model": theirs, "optimizer": {}}, tmp_path / "best_ckpt.pth")
    opened = open_model(str(tmp_path / "best_ckpt.pth"))
    assert same_model(opened.layout, made)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(opened.network().eval()(images)["decoded"][0], network(images)["decoded"][0], atol=1e-3)


def yolox_keys(ours: Any) -> Iterator[str]:
    """The repository's key for each of our keys, from the table of both."""
    from effscope.checkpoint.identify.yolox_keys import YOLOX_KEYS

    pairs = sorted(YOLOX_KEYS, key=lambda pair: -len(pair[1]))
    for key in ours:
        theirs, mine = next(pair for pair in pairs if key.startswith(pair[1]))
        tail = key.removeprefix(mine)
        for candidate in (theirs + tail, theirs + tail.replace(".cv", ".conv")):
            if next(iter(from_yolox_keys({candidate: 0}))) == key:
                yield candidate
                break
        else:
            raise AssertionError(key)


def test_a_graph_without_architecture_is_counted(files: dict[str, Path], net: nn.Module) -> None:
    counted = api.cost(str(files["exported"]))
    assert isinstance(counted, TensorsResult)
    assert counted.params == sum(p.numel() for p in net.parameters())
    assert identify(read_checkpoint(files["onnx"])).layout is None


def error_of(path: Path) -> str:
    with pytest.raises(EffscopeError) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_in_other_files_are_not_read(net: nn.Module, tmp_path: Path) -> None:
    model = graph_of(net)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    assert "are in other files" in error_of(tmp_path / "a.onnx")


def test_too_large_shapes_are_refused(net: nn.Module, tmp_path: Path) -> None:
    model = graph_of(net)
    model.graph.initializer[0].dims[0] = 2**40
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    assert "more numbers than the file has" in error_of(tmp_path / "a.onnx")


@pytest.mark.parametrize("kind", ["traced", "exported", "onnx"])
def test_damaged_files_are_read_or_refused_in_one_line(kind: str, files: dict[str, Path], tmp_path: Path) -> None:
    content = files[kind].read_bytes()
    source = random.Random(3)
    for n in range(150):
        data = bytearray(content)
        if n % 3 == 0:
            data = data[: source.randrange(len(data))]
        else:
            for _ in range(source.randrange(1, 6)):
                data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        path = tmp_path / "damaged.bin"
        path.write_bytes(bytes(data))
        try:
            assert read_checkpoint(path).state
        except EffscopeError as e:
            assert "\n" not in str(e)


def test_a_script_that_names_code_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "hostile.pt"
    hostile = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."
    with zipfile.ZipFile(files["traced"]) as given, zipfile.ZipFile(path, "w") as made:
        for name in given.namelist():
            made.writestr(name, hostile if name.endswith("/data.pkl") else given.read(name))
    assert "makes or runs code" in error_of(path)


def test_a_wrong_table_of_weights_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "lies.pt2"
    with zipfile.ZipFile(files["exported"]) as given, zipfile.ZipFile(path, "w") as made:
        for name in given.namelist():
            content = given.read(name)
            if name.endswith("model_weights_config.json"):
                content = content.replace(b'"as_int": 27', b'"as_int": 999999999')
            made.writestr(name, content)
    assert "reaches past its storage" in error_of(path)
