"""The int8 form of an exported detector, and a graph that is scored like a network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.tiny_search import tiny_place, train_tiny
from torch import nn

from effscope.config import EvalConfig
from effscope.data.load import load
from effscope.detect.bank import Bank, bank_inputs, load_bank
from effscope.detect.evaluate import evaluate
from effscope.detect.letterbox import letterboxed
from effscope.errors import EffscopeError
from effscope.exporting.graph_detector import GraphDetector
from effscope.exporting.int8 import CALIBRATION, int8_graph
from effscope.exporting.onnx_graph import checked_graph
from effscope.models.open import open_model
from effscope.nn.build import Network
from effscope.nn.fuse import deploy

SIDE = 64


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Bank, bytes]:
    """A trained network, square validation images, its graph."""
    place = tiny_place(tmp_path_factory.mktemp("int8"))
    network = open_model(str(train_tiny(place))).network()
    bank = load_bank(load(str(place / "data" / "data.yaml"), "val"), SIDE)
    return network, bank, checked_graph(network, ("red", "blue"), SIDE)[0]


class Squared(nn.Module):
    """A network whose images are padded to squares, as those of a graph are."""

    def __init__(self, network: Network):
        super().__init__()
        self.network, self.nc = network, network.nc
        self.spec = SimpleNamespace(info={**network.spec.info, "strides": (SIDE,)})

    def forward(self, images: torch.Tensor) -> object:
        return self.network(images)


def squares(bank: Bank) -> list[NDArray[np.float32]]:
    return [(letterboxed(pixels, fit)[None].float() / 255).numpy() for fit, pixels in bank_inputs(bank, SIDE)]


def ap(network: object, bank: Bank) -> float:
    return evaluate(cast("Network", network), bank, EvalConfig(imgsz=SIDE, batch=4, device="cpu")).ap


def test_a_graph_is_scored_like_its_network(made: tuple[Network, Bank, bytes]) -> None:
    network, bank, graph = made
    assert ap(GraphDetector(graph, 1), bank) == pytest.approx(ap(Squared(deploy(network)), bank), abs=1e-3)


def test_int8_is_near_and_its_weights_are_bytes(made: tuple[Network, Bank, bytes]) -> None:
    import onnx

    network, bank, graph = made
    shown = squares(bank)
    small = int8_graph(graph, shown)
    kernels = [one for one in onnx.load_from_string(small).graph.initializer if len(one.dims) == 4]
    floats = [one for one in kernels if one.data_type != onnx.TensorProto.INT8]
    closing = 2 * len(network.spec.info["strides"]) + 1
    assert len(floats) == closing < len(kernels), "the closing convolutions of the head and its sum over bins"
    assert len(small) < len(graph)
    outputs = []
    for data in (graph, small):
        with torch.inference_mode():
            outputs.append(GraphDetector(data, 1)(torch.from_numpy(np.concatenate(shown)))["decoded"][0])
    assert not torch.equal(*outputs)
    assert ap(GraphDetector(small, 1), bank) == pytest.approx(ap(Squared(deploy(network)), bank), abs=0.1)


def test_at_most_so_many_images_are_read(made: tuple[Network, Bank, bytes]) -> None:
    _, bank, graph = made
    one = squares(bank)[0]
    read = 0

    def endless() -> object:
        nonlocal read
        while True:
            read += 1
            yield one

    int8_graph(graph, endless())  # type: ignore[arg-type]
    assert read <= CALIBRATION


def test_what_is_no_graph_is_refused_in_one_line() -> None:
    with pytest.raises(EffscopeError, match="onnxruntime cannot make an int8 form") as caught:
        int8_graph(b"no graph", [])
    assert "\n" not in str(caught.value)
