"""An ONNX graph of a detector that is called like a network: ours, or one that another tool exported."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from effscope.detect.predict import CENTRED
from effscope.errors import EffscopeError, counted, first_line
from effscope.exporting.onnx_graph import FLOATS, image_feed, session
from effscope.spec.graph import DECODED

NO_DETECTOR = "no detector that effscope knows"
"""End of the messages on graphs of another kind."""

SELECTED = "xyxy"
"""Box format of a graph that has selected its detections already."""

IMAGE_DIMS, RGB = 4, 3

ROW = 6
"""Values of a selected detection: xyxy, score, class."""


@dataclass(frozen=True)
class Facts:
    """What a graph says about itself.

    Attributes:
        fixed: side of its images in px; None if it takes images of any size.
        named: side that its metadata names; None if they name none.
        classes: names, position = label; None if it has none.
    """

    fixed: int | None
    named: int | None
    classes: tuple[str, ...] | None


class GraphDetector(nn.Module):
    """An ONNX graph that is called like a network in deploy form, for images of one size, in onnxruntime on the CPU.

    It reads images (1, 3, S, S) of 0-1. Its first output is one of:

    - (1, 4 + C, A): centres and sizes in px, class probabilities (YOLOv8 and later);
    - (1, A, 5 + C): the same with an objectness between them (YOLOv5, v7);
    - (1, N, 6): detections xyxy, score, class (one-to-one heads, and graphs with suppression inside).

    Attributes:
        spec: what the detection needs to know: strides (the size itself, so that images are padded to squares) and
            format of the boxes.
        nc: number of classes.
        classes: their names, if the graph has them.
        imgsz: side of the images in px.
    """

    def __init__(self, data: bytes, threads: int, imgsz: int | None = None):
        """Open a graph.

        Args:
            data: content of the file.
            threads: CPU threads.
            imgsz: side of the images in px; default: as the file says.

        Raises:
            EffscopeError: no ONNX graph, not one image input or another size, or outputs that are none of the known.
        """
        super().__init__()
        try:
            self.session = session(data, threads)
        except Exception as error:  # onnxruntime raises its own kinds
            raise EffscopeError(f"onnxruntime cannot open the graph: {first_line(error, '')}") from error
        facts = _facts(self.session)
        if imgsz and facts.fixed and imgsz != facts.fixed:
            raise EffscopeError(f"the graph is for images of {facts.fixed} px, not {imgsz}: leave out `imgsz`")
        side = imgsz or facts.fixed or facts.named
        if side is None:
            raise EffscopeError("the graph takes images of any size: give `imgsz`")
        self.imgsz, self.classes = side, facts.classes
        self.form = _form(self.raw(np.zeros((1, 3, side, side), np.float32)), facts.classes)
        self.nc = self.form.nc
        self.spec = SimpleNamespace(info={"strides": (side,), "box_format": self.form.box_format})

    def raw(self, image: NDArray[np.float32]) -> NDArray[Any]:
        """The first output for one image (1, 3, S, S).

        Raises:
            EffscopeError: it cannot run, or the output has not three dimensions with one image.
        """
        try:
            found = self.session.run(None, image_feed(self.session, image))[0]
        except Exception as error:  # onnxruntime raises its own kinds
            raise EffscopeError(f"the graph does not run at {image.shape[2]} px: {first_line(error, '')}") from error
        if found.ndim != 3 or found.shape[0] != 1:  # noqa: PLR2004
            raise EffscopeError(f"the graph's first output has the shape {found.shape}: {NO_DETECTOR}")
        return np.asarray(found)

    def forward(self, images: Tensor) -> dict[str, tuple[Tensor, ...]]:
        found = [self.raw(image[None].contiguous().cpu().numpy()) for image in images]
        rows = [self.form.decoded(values.astype(np.float32, copy=False)) for values in found]
        return {DECODED: (torch.from_numpy(np.concatenate(rows)),)}


@dataclass(frozen=True)
class Form:
    """How a graph writes its detections.

    Attributes:
        box_format: of `decoded`: "xywh" needs non-maximum suppression, "xyxy" does not.
        nc: number of classes.
        decoded: first output -> float32 (1, 4 + C, A), boxes in px and class probabilities.
    """

    box_format: str
    nc: int
    decoded: Callable[[NDArray[np.float32]], NDArray[np.float32]]


def _form(output: NDArray[Any], classes: tuple[str, ...] | None) -> Form:
    """The form of an output.

    Raises:
        EffscopeError: none of the known ones.
    """
    _, rows, columns = output.shape
    if columns == ROW and bool((output[..., 5] == output[..., 5].round()).all()):
        if classes is None:
            raise EffscopeError(
                "the graph selects its detections but holds no class names: the number of classes is unknown"
            )
        return Form(SELECTED, len(classes), partial(_spread, nc=len(classes)))
    by_point = {rows - 4: Form(CENTRED, rows - 4, _same), columns - 5: Form(CENTRED, columns - 5, _without_objectness)}
    nc = len(classes) if classes is not None else (columns - 5 if rows > columns else rows - 4)
    if nc < 1 or nc not in by_point:
        named = f"of {counted(nc, 'class', 'classes')}" if nc > 0 else "that effscope knows"
        raise EffscopeError(f"the graph's first output has the shape {output.shape}: no detector {named}")
    return by_point[nc]


def _same(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values


def _without_objectness(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1, A, 5 + C): the score of a class is its probability times the objectness."""
    return np.concatenate((values[..., :4], values[..., 4:5] * values[..., 5:]), 2).transpose(0, 2, 1)


def _spread(values: NDArray[np.float32], nc: int) -> NDArray[np.float32]:
    """(1, N, 6): each row has the score of one class."""
    made = np.zeros((1, 4 + nc, values.shape[1]), np.float32)
    made[0, :4] = values[0, :, :4].T
    labels = values[0, :, 5].astype(np.int64)
    unknown = (labels >= nc) | (labels < 0)
    if (values[0, unknown, 4] > 0).any():
        names = counted(nc, "class", "classes")
        raise EffscopeError(f"the graph detects class {labels[unknown].max()} and names only {names}")
    labels = labels.clip(0, nc - 1)
    made[0, 4 + labels, np.arange(len(labels))] = values[0, :, 4]
    return made


def _facts(graph: Any) -> Facts:
    """Raises EffscopeError for a graph that is not one of square images."""
    inputs = graph.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != IMAGE_DIMS or inputs[0].type not in FLOATS or (isinstance(shape[1], int) and shape[1] != RGB):
        raise EffscopeError(f"the graph has not one input (1, 3, S, S) of floats: {NO_DETECTOR}")
    fixed = {side for side in shape[2:] if isinstance(side, int)}
    if len(fixed) > 1:
        raise EffscopeError(f"the graph is for images of {sorted(fixed)} px: only square images are scored")
    metadata = graph.get_modelmeta().custom_metadata_map
    named = set(_sides(metadata.get("imgsz", "")))
    return Facts(next(iter(fixed), None), named.pop() if len(named) == 1 else None, _names(metadata.get("names", "")))


def _sides(text: str) -> Iterator[int]:
    value = _literal(text)
    yield from (side for side in (value if isinstance(value, list) else [value]) if isinstance(side, int))


def _names(text: str) -> tuple[str, ...] | None:
    """Class names from a list, or from a mapping of labels 0, 1, ..."""
    value = _literal(text)
    if isinstance(value, dict) and {str(key) for key in value} == set(map(str, range(len(value)))):
        value = [name for _, name in sorted(value.items(), key=lambda item: int(item[0]))]
    return tuple(map(str, value)) if isinstance(value, list) and value else None


def _literal(text: str) -> Any:
    """A value written as JSON, or as Python as Ultralytics does; None for anything else."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None


def graph_bytes(path: Path) -> bytes:
    """The content of an ONNX file, with the numbers that stand in other files beside it.

    Raises:
        EffscopeError: the file or one beside it cannot be read.
    """
    import onnx  # noqa: PLC0415 - slow import

    try:
        return bytes(onnx.load(str(path)).SerializeToString())
    except Exception as error:  # protobuf's own errors, onnx's checks of paths, missing files
        raise EffscopeError(f"it cannot be read as ONNX: {first_line(error, '')}") from error


def graph_size(path: Path) -> int | None:
    """The side of the images that an ONNX file is for, or that its metadata name; None if it names none."""
    import onnx  # noqa: PLC0415 - slow import

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:
        return None
    dims = [one.dim_value for one in model.graph.input[0].type.tensor_type.shape.dim] if model.graph.input else []
    named = next((entry.value for entry in model.metadata_props if entry.key == "imgsz"), "")
    sides = {side for side in dims[2:] if side} or set(_sides(named))
    return sides.pop() if len(sides) == 1 else None
