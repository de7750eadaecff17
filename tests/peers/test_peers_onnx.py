"""ONNX files that the real Ultralytics exports, run here as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.golden_files import lively
from support.peers_env import ask_for
from support.small_detector import CLASSES

from effscope import api
from effscope.checkpoint.write import write_safetensors
from effscope.config import EvalConfig
from effscope.detect.predict import select
from effscope.exporting.graph_detector import GraphDetector
from effscope.layouts.zoo.catalog import layout
from effscope.models.file_metadata import metadata
from effscope.nn.fuse import deploy

SIDE = 96
EXPORTS = {"plain": {"nms": False}, "any size": {"nms": False, "dynamic": True}}
"""File -> options. `nms` False exports the one-to-one head of a YOLOv10, None the other one."""


@pytest.mark.parametrize("name", ["yolov8n", "yolov10n"])
def test_a_graph_of_ultralytics_detects_what_the_network_does(name: str, tmp_path: Path) -> None:
    """The same weights, exported there and built here; a one-to-one head selects its detections in the graph."""
    model = layout(name, len(CLASSES))
    network = lively(model)
    write_safetensors(tmp_path / "given.safetensors", network.state_dict(), metadata(model, CLASSES, SIDE))
    files = api.export(str(tmp_path / "given.safetensors"), "pt", tmp_path / "out").files
    question = {"weights": files["pt"], "imgsz": SIDE, "exports": EXPORTS}
    (tmp_path / "question.json").write_text(json.dumps(question))
    ask_for("graphs", tmp_path)
    image = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    config = EvalConfig(imgsz=SIDE, conf=0.0005, max_det=50)
    with torch.inference_mode():
        ours = deploy(network)(image)["decoded"][0]
    expected = select(ours, network.spec.info["box_format"], config)[0]
    for export in EXPORTS:
        detector = GraphDetector((tmp_path / f"{export}.onnx").read_bytes(), 1)
        assert (detector.imgsz, detector.classes) == (SIDE, CLASSES)
        found = select(detector(image)["decoded"][0], detector.spec.info["box_format"], config)[0]
        assert found.shape == expected.shape and len(found)
        torch.testing.assert_close(found[:, 4], expected[:, 4], atol=1e-5, rtol=1e-3)
        for row in found[:-5]:  # nearly equal scores may be in another order, also at the end of the list
            same = (expected[:, 5] == row[5]) & ((expected[:, 4] - row[4]).abs() < 1e-5)
            assert (expected[same, :4] - row[:4]).abs().amax(1).min() < 0.05
