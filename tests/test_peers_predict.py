"""Resizing and detections against OpenCV and Ultralytics on the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from peers_env import ask
from torch import Tensor

from effscope.config import EvalConfig
from effscope.detect.letterbox import resize
from effscope.detect.predict import detect
from effscope.expand import expand
from effscope.families.catalog import layout
from effscope.nn.build import build
from effscope.nn.fuse import deploy

RESIZED = """
import sys, cv2, numpy as np
pictures = np.load(sys.argv[1])
np.savez(sys.argv[2], **{
    f"{name} {w}x{h}": cv2.resize(pictures[name], (w, h), interpolation=cv2.INTER_LINEAR)
    for name in pictures for w, h in ((256, 192), (101, 57), (640, 480), (700, 901))
})
"""

PREDICTED = """
import sys, numpy as np
from pathlib import Path
from PIL import Image
import ultralytics
from ultralytics import YOLO
bus = np.array(Image.open(Path(ultralytics.__file__).parent / "assets" / "bus.jpg").convert("RGB"))
zidane = np.array(Image.open(Path(ultralytics.__file__).parent / "assets" / "zidane.jpg").convert("RGB"))
pictures = {"bus": bus, "zidane": zidane, "wide": bus[300:700], "small": zidane[::5, ::5].copy()}
model = YOLO(sys.argv[1])
out = {}
for name, picture in pictures.items():
    for imgsz in (256, 640):
        done = model.predict(picture[..., ::-1].copy(), imgsz=imgsz, conf=0.05, iou=0.7, device="cpu", verbose=False)
        out[f"{name} {imgsz}"] = done[0].boxes.data.numpy()
np.savez(sys.argv[2], **out)
np.savez(sys.argv[3], **pictures)
"""


def test_resize_is_opencvs_bilinear(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(333), np.arange(500))[..., None] * np.array([0.2, 0.25, 0.3])
    pictures = {"noise": random.integers(0, 256, (333, 500, 3), dtype=np.uint8), "smooth": smooth.astype(np.uint8)}
    asked, answered = tmp_path / "pictures.npz", tmp_path / "resized.npz"
    np.savez(asked, **pictures)
    ask(RESIZED, asked, answered, needs="cv2")
    for key, theirs in np.load(answered).items():
        name, size = key.split()
        width, height = map(int, size.split("x"))
        ours = resize(torch.from_numpy(pictures[name]).permute(2, 0, 1), (width, height)).permute(1, 2, 0).numpy()
        off = np.abs(ours.astype(int) - theirs.astype(int))
        assert off.max() <= 1, key
        assert (off > 0).mean() < 1e-3, key


def test_detections_are_ultralytics(tmp_path: Path, shared: Path) -> None:
    weights = shared / "data" / "weights"
    network = build(expand(layout("yolov8n", 80)))
    state: dict[str, Tensor] = torch.load(weights / "yolov8n_coco_state_dict.pt", weights_only=True)
    network.load_state_dict({key: value.float() for key, value in state.items()})
    network = deploy(network)
    found, seen = tmp_path / "found.npz", tmp_path / "pictures.npz"
    ask(PREDICTED, weights / "yolov8n_coco.pt", found, seen)
    pictures, compared = np.load(seen), 0
    for key, theirs in np.load(found).items():
        name, imgsz = key.split()
        config = EvalConfig(imgsz=int(imgsz), conf=0.05, iou=0.7, device="cpu")
        ((_, ours),) = detect(network, [pictures[name]], config, multi_label=False)
        assert len(ours.scores) == len(theirs), key
        order, reference = np.argsort(-ours.scores, kind="stable"), np.argsort(-theirs[:, 4], kind="stable")
        assert np.abs(ours.scores[order] - theirs[reference, 4]).max() < 1e-3, key
        assert np.abs(ours.boxes[order] - theirs[reference, :4]).max() < 1, key
        assert np.array_equal(ours.labels[order], theirs[reference, 5].astype(int)), key
        compared += len(theirs)
    assert compared > 30
