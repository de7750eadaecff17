"""Graphs of several tools, called like networks."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from effscope.config import EvalConfig
from effscope.detect.predict import select
from effscope.errors import EffscopeError
from effscope.exporting.graph_detector import GraphDetector

SIDE = 64
RNG = np.random.default_rng(0)


def graph(
    output: NDArray[np.float32],
    shape: tuple[object, ...] = (1, 3, SIDE, SIDE),
    names: str = "",
    imgsz: str = "",
    dtype: int = TensorProto.FLOAT,
    reads: str = "images",
) -> bytes:
    """A graph that answers every image with the same output, plus nothing of the image."""
    kind = np.float16 if dtype == TensorProto.FLOAT16 else np.float32
    nodes = [
        helper.make_node("ReduceSum", [reads], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["answer", "nothing"], ["detections"]),
    ]
    values = [
        numpy_helper.from_array(np.zeros((), kind), "zero"),
        numpy_helper.from_array(output.astype(kind), "answer"),
    ]
    made = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(reads, dtype, shape)],
        [helper.make_tensor_value_info("detections", dtype, output.shape)],
        values,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for key, value in (("names", names), ("imgsz", imgsz)):
        if value:
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def found(data: bytes, imgsz: int | None = None) -> tuple[GraphDetector, NDArray[np.float32]]:
    """The detector, and its best detections in one image: (N, 6) xyxy, score, label."""
    detector = GraphDetector(data, 1, imgsz)
    decoded = detector(torch.zeros(1, 3, detector.imgsz, detector.imgsz))["decoded"][0]
    rows = select(decoded, detector.spec.info["box_format"], EvalConfig(conf=0.1))[0]
    return detector, rows.numpy()


BOXES = np.array([[20, 30, 10, 8], [50, 12, 6, 6]], np.float32)  # centres and sizes, far apart
EXPECTED = np.array([[15, 26, 25, 34], [47, 9, 53, 15]], np.float32)
SCORES = np.array([[0.8, 0.0, 0.0], [0.0, 0.0, 0.6]], np.float32)


def test_centres_and_probabilities() -> None:
    """YOLOv8 and later: (1, 4 + C, A)."""
    detector, rows = found(graph(np.concatenate((BOXES, SCORES), 1).T[None], names="{0: 'a', 1: 'b', 2: 'c'}"))
    assert (detector.nc, detector.classes) == (3, ("a", "b", "c"))
    np.testing.assert_allclose(rows[:, :4], EXPECTED)
    np.testing.assert_allclose(rows[:, 4:], [[0.8, 0], [0.6, 2]])


def test_objectness_is_a_factor() -> None:
    """YOLOv5: (1, A, 5 + C)."""
    rows = np.concatenate((BOXES, [[0.5], [1.0]], SCORES), 1, dtype=np.float32)
    empty = np.tile(np.array([[5, 5, 2, 2, 0, 0.3, 0.3, 0.3]], np.float32), (30, 1))
    detector, rows = found(graph(np.concatenate((rows, empty))[None]))
    assert (detector.nc, detector.classes) == (3, None)
    np.testing.assert_allclose(rows[:, 4:], [[0.6, 2], [0.4, 0]], rtol=1e-6)
    np.testing.assert_allclose(rows[:, :4], EXPECTED[::-1])


def test_one_class_with_objectness_is_not_taken_for_selected_detections() -> None:
    """Both have six values a row; the class of a selected detection is a whole number."""
    rows = np.concatenate((BOXES, [[0.5], [1.0]], [[0.9], [0.8]]), 1, dtype=np.float32)
    detector, rows = found(graph(rows[None], names='["cell"]'))
    assert detector.nc == 1
    np.testing.assert_allclose(rows[:, 4], [0.8, 0.45], rtol=1e-6)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_selected_detections_are_taken_as_they_are(dtype: int) -> None:
    """Overlapping boxes stay: the graph has suppressed already."""
    rows = np.array([[1, 2, 9, 9, 0.9, 2], [1, 2, 9, 9, 0.5, 2], [4, 4, 8, 8, 0.3, 0]], np.float32)
    detector, shown = found(graph(rows[None], names='{"0": "a", "1": "b", "2": "c"}', dtype=dtype))
    assert detector.spec.info["box_format"] == "xyxy"
    np.testing.assert_allclose(shown, rows, atol=1e-3)


def test_the_size_is_the_files_or_the_users() -> None:
    answer = np.tile(np.concatenate((BOXES, SCORES), 1).T[None], (1, 1, 9))
    assert GraphDetector(graph(answer), 1).imgsz == SIDE
    open_sized = ("batch", 3, "height", "width")
    assert GraphDetector(graph(answer, open_sized, imgsz="[96, 96]"), 1).imgsz == 96
    assert GraphDetector(graph(answer, open_sized), 1, 128).imgsz == 128
    assert GraphDetector(graph(answer, open_sized, imgsz="[96, 96]"), 1, 64).imgsz == 64, "metadata are a default"
    assert GraphDetector(graph(answer, open_sized, imgsz="[64, 96]"), 1, 64).imgsz == 64
    with pytest.raises(EffscopeError, match="takes images of any size: give `imgsz`"):
        GraphDetector(graph(answer, open_sized), 1)
    with pytest.raises(EffscopeError, match="is for images of 64 px, not 128"):
        GraphDetector(graph(answer), 1, 128)


def test_a_class_without_a_name_is_refused() -> None:
    rows = np.array([[1, 2, 9, 9, 0.9, 85]], np.float32)
    with pytest.raises(EffscopeError, match="detects class 85 and names only 2 classes"):
        found(graph(rows[None], names="['a', 'b']"))
    padding = np.array([[1, 2, 9, 9, 0.9, 1], [0, 0, 0, 0, 0, -1]], np.float32)
    assert len(found(graph(padding[None], names="['a', 'b']"))[1]) == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no graph", "onnxruntime cannot open the graph"),
        (graph(np.zeros((1, 7, 2), np.float32), (1, 3, 64, 96)), "only square images are scored"),
        (graph(np.zeros((1, 7, 2), np.float32), (1, 1, 64, 64)), "has not one input \\(1, 3, S, S\\) of floats"),
        (graph(np.zeros((1, 7), np.float32)), "first output has the shape \\(1, 7\\)"),
        (graph(np.zeros((4, 7, 2), np.float32)), "first output has the shape \\(4, 7, 2\\)"),
        (graph(np.zeros((1, 7, 20), np.float32), names="['a']"), "shape \\(1, 7, 20\\): no detector of 1 class"),
        (graph(np.zeros((1, 3, 3), np.float32)), "shape \\(1, 3, 3\\): no detector that effscope knows"),
        (graph(np.zeros((1, 9, 6), np.float32)), "holds no class names"),
    ],
)
def test_other_graphs_are_refused_in_one_line(data: bytes, said: str) -> None:
    with pytest.raises(EffscopeError, match=said) as caught:
        GraphDetector(data, 1)
    assert "\n" not in str(caught.value)
