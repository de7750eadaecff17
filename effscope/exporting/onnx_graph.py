"""A detector as an ONNX graph. Its outputs are compared with those of the network before it is written."""

from __future__ import annotations

import io
import json
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from effscope.config.image_size import ImageSize, image_shape
from effscope.errors import EffscopeError, first_line
from effscope.files import write_bytes
from effscope.nn.build import Network
from effscope.nn.fuse import deploy
from effscope.results import version
from effscope.spec.graph import input_channels

MOST_DETECTIONS = 300
"""Detections of a one-to-one head, highest scores first. It needs no NMS."""

TOLERANCE_PX, TOLERANCE_SCORE = 0.05, 1e-3
INPUT, OUTPUT = "images", "detections"
REASON_LENGTH = 200


class DecodedOutput(nn.Module):
    """A network with only its inference output: (1, 4 + nc, A), or (1, 300, 6) for a one-to-one head."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network
        self.one_to_one = network.spec.info["box_format"] == "xyxy"

    def forward(self, images: Tensor) -> Tensor:
        decoded: Tensor = self.network(images)["decoded"][0]
        return top_detections(decoded) if self.one_to_one else decoded


def top_detections(decoded: Tensor) -> Tensor:
    """The detections with the highest scores over all anchor points and classes.

    Args:
        decoded: (B, 4 + C, A), boxes xyxy in px and class probabilities.

    Returns:
        (B, 300, 6): xyxy in px, score, class; fewer rows if there are fewer candidates.
    """
    rows = decoded.transpose(1, 2)
    n_classes = rows.shape[2] - 4
    n = min(MOST_DETECTIONS, rows.shape[1] * n_classes)
    scores, index = rows[:, :, 4:].flatten(1).topk(n, 1)
    boxes = rows[:, :, :4].gather(1, (index // n_classes)[:, :, None].expand(-1, -1, 4))
    return torch.cat((boxes, scores[:, :, None], (index % n_classes)[:, :, None].to(scores.dtype)), 2)


@dataclass(frozen=True)
class Agreement:
    """Largest difference between the graph and the network on one random image: boxes in px, scores."""

    px: float
    score: float


def write_onnx(path: Path, network: Network, classes: tuple[str, ...], imgsz: int) -> Agreement:
    """Write the deploy form of a network as ONNX; arguments and errors as in `checked_graph`."""
    data, agreement = checked_graph(network, classes, imgsz)
    write_bytes(path, data)
    return agreement


def checked_graph(network: Network, classes: tuple[str, ...], imgsz: ImageSize) -> tuple[bytes, Agreement]:
    """The deploy form of a network as an ONNX file: input `images` (1, C, H, W) float32 0-1, output `detections`.

    Args:
        network: a network with the view `decoded`.
        classes: class names, for the metadata.
        imgsz: size of the image.

    Returns:
        The content of the file, and how far onnxruntime's outputs are from torch's.

    Raises:
        EffscopeError: the exporter fails, or the outputs of graph and network differ.
    """
    import onnx  # noqa: PLC0415 - slow import

    model = DecodedOutput(deploy(network).cpu()).eval()
    shape = image_shape(imgsz, input_channels(network.spec))
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    graph = onnx.load_from_string(_exported(model, (image,), [INPUT], [OUTPUT]))
    for key, value in _facts(network, classes, imgsz).items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value
    data = graph.SerializeToString()
    with torch.inference_mode():
        by_torch = model(image)
    by_onnx = torch.from_numpy(session(data, torch.get_num_threads()).run(None, {INPUT: image.numpy()})[0])
    agreement = _compared(by_torch, by_onnx, model.one_to_one)
    if agreement.px > TOLERANCE_PX or agreement.score > TOLERANCE_SCORE:
        raise EffscopeError(
            f"onnxruntime differs from torch by {agreement.px:.3g} px and {agreement.score:.3g} in score: no ONNX file"
        )
    return data, agreement


def session(data: bytes, n_threads: int) -> Any:
    """An onnxruntime session of a graph, on the CPU with this number of threads.

    Its threads rest between runs. By default they spin, and several sessions in turn take several times as long.
    """
    import onnxruntime  # noqa: PLC0415 - slow import

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


FLOATS: dict[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
"""Types of the images that a graph may read."""


def image_feed(opened: Any, image: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """An image as the only input of a session, in its type."""
    (read,) = opened.get_inputs()
    return {read.name: image.astype(FLOATS.get(read.type, np.float32), copy=False)}


def _facts(network: Network, classes: tuple[str, ...], imgsz: ImageSize) -> dict[str, str]:
    info = network.spec.info
    return {
        "names": json.dumps(dict(enumerate(classes))),
        "stride": str(max(info["strides"])),
        "imgsz": json.dumps(image_shape(imgsz)[-2:]),
        "task": "detect",
        "box_format": info["box_format"],
        "nms": "none needed" if info["box_format"] == "xyxy" else "to be done",
        "effscope": version("effscope"),
    }


class _Called(nn.Module):
    """A layer as a module whose arguments have names."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, *maps: Tensor) -> Any:
        return self.layer(*maps)


def piece_graph(layer: nn.Module, inputs: tuple[Tensor, ...]) -> bytes:
    """One layer as an ONNX file: inputs `input0`, `input1`, ... of the shapes of the given maps.

    Raises:
        EffscopeError: the exporter fails.
    """
    return _exported(_Called(layer).eval(), inputs, [f"input{n}" for n in range(len(inputs))], None)


def _exported(model: nn.Module, inputs: tuple[Tensor, ...], names: list[str], outputs: list[str] | None) -> bytes:
    """The serialised graph. The output of the exporter is hidden; an error without a message shows that output."""
    with _output_hidden() as printed:
        try:
            program = torch.onnx.export(
                model, inputs, dynamo=True, input_names=names, output_names=outputs, verbose=False
            )
            assert program is not None
            return bytes(program.model_proto.SerializeToString())
        except Exception as e:  # the exporter may raise anything for an unknown operation
            reason = first_line(e, printed.getvalue())[:REASON_LENGTH]
            raise EffscopeError(f"torch.onnx cannot express this model: {reason}") from e


@contextmanager
def _output_hidden() -> Iterator[io.StringIO]:
    printed, before = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(printed), redirect_stderr(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield printed
    finally:
        logging.disable(before)


def _compared(by_torch: Tensor, by_onnx: Tensor, one_to_one: bool) -> Agreement:
    if not one_to_one:
        difference = (by_torch - by_onnx).abs()
        return Agreement(float(difference[:, :4].amax()), float(difference[:, 4:].amax()))
    score = float((by_torch[0, :, 4] - by_onnx[0, :, 4]).abs().amax())
    return Agreement(max(map(partial(_nearest, by_torch[0]), by_onnx[0]), default=0.0), score)


def _nearest(rows: Tensor, row: Tensor) -> float:
    """Distance in px to the nearest row with the same class and score. Rows with equal scores may be in any order.

    A row with the lowest score counts as 0: the list may end between rows with equal scores.
    """
    same = (rows[:, 5] == row[5]) & ((rows[:, 4] - row[4]).abs() < TOLERANCE_SCORE)
    if row[4] < rows[-1, 4] + TOLERANCE_SCORE:
        return 0.0
    return float((rows[same, :4] - row[:4]).abs().amax(1).min()) if same.any() else math.inf
