"""A detector as a runtime runs it: a network in torch, or an ONNX graph in onnxruntime."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from effscope.config import IMGSZ_MULTIPLE
from effscope.errors import EffscopeError
from effscope.exporting.graph_detector import SELECTED, GraphDetector, graph_bytes
from effscope.exporting.onnx_graph import checked_graph
from effscope.models.open import USUAL_SIZE
from effscope.models.opened import Model
from effscope.nn.build import Network
from effscope.nn.fuse import deploy
from effscope.nn.precision import pick_device
from effscope.progress import Say, unsaid
from effscope.timing.in_turn import Timed, graphs_in_turn, slowed


@dataclass(frozen=True)
class Deployed:
    """A detector that can be scored.

    Attributes:
        name: for tables.
        network: what detects; called like a network.
        classes: class names, or None if they are not known.
        nc: number of classes.
        imgsz: side of the images in px.
        digest: hash of the layout, or of the file.
        graph: the ONNX file, if onnxruntime runs it.
    """

    name: str
    network: Network
    classes: tuple[str, ...] | None
    nc: int
    imgsz: int
    digest: str
    graph: bytes | None = None

    @property
    def selects(self) -> bool:
        """Whether a graph of another tool selects its detections itself."""
        return isinstance(self.network, GraphDetector) and self.network.form.box_format == SELECTED

    def timed(self, say: Say = unsaid) -> Timed | None:
        """Its latency with one thread and with all; None in torch, where `effscope latency` measures it.

        Args:
            say: called if the machine is busy.
        """
        if self.graph is None:
            return None
        for line in slowed(torch.get_num_threads()):
            say(f"{self.name}: {line}")
        return graphs_in_turn({self.name: (self.graph, self.imgsz)}, torch.get_num_threads())


def in_torch(model: Model, imgsz: int | None) -> Deployed:
    """A model with weights, run by torch."""
    side = imgsz or model.imgsz or USUAL_SIZE
    network = deploy(model.network())
    return Deployed(model.name, network, model.classes, model.layout.nc, side, model.layout.digest())


def in_onnxruntime(model: Model, imgsz: int | None, device: str) -> Deployed:
    """A model with weights, exported and run by onnxruntime.

    Raises:
        EffscopeError: the device is no CPU, or ONNX cannot express the model.
    """
    side = imgsz or model.imgsz or USUAL_SIZE
    names = model.classes or tuple(f"class{n}" for n in range(model.layout.nc))
    _check_cpu(device)
    graph = checked_graph(model.network(), names, side)[0]
    detector = GraphDetector(graph, torch.get_num_threads(), side)
    return Deployed(
        model.name, cast("Network", detector), model.classes, model.layout.nc, side, model.layout.digest(), graph
    )  # fmt: skip


def graph_file(path: Path, imgsz: int | None, device: str) -> Deployed:
    """An ONNX file, run by onnxruntime as it is.

    Raises:
        EffscopeError: the device is no CPU, the file cannot be read, it is no detector that effscope knows, or the side
            of its images is no multiple of 32 px.
    """
    _check_cpu(device)
    try:
        data = graph_bytes(path)
        detector = GraphDetector(data, torch.get_num_threads(), imgsz)
    except EffscopeError as error:
        raise EffscopeError(f"{path}: {error}") from None
    if detector.imgsz % IMGSZ_MULTIPLE:
        raise EffscopeError(
            f"{path} is for images of {detector.imgsz} px: only multiples of {IMGSZ_MULTIPLE} are scored"
        )
    digest = hashlib.sha256(data).hexdigest()
    return Deployed(path.stem, cast("Network", detector), detector.classes, detector.nc, detector.imgsz, digest, data)


def _check_cpu(device: str) -> None:
    if device != "auto" and pick_device(device).type != "cpu":
        raise EffscopeError("`runtime` onnx runs on the CPU: set `device` to cpu or `runtime` to torch")
