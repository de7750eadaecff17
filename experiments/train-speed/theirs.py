"""Ultralytics' side, run in the peers' environment: `train DATA EPOCHS SEED DEVICE OUT` or `val WEIGHTS DATA IMGSZ`.

Prints one line of JSON last.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from ultralytics import YOLO

IMGSZ, BATCH = 256, 16


def train(data: str, epochs: int, seed: int, device: str, out: str) -> dict[str, object]:
    """Ultralytics' defaults, except: from scratch, images cached in memory, no plots, no evaluation before the end."""
    place = Path(out)
    YOLO("yolov8n.yaml", verbose=False).train(
        data=data, epochs=epochs, imgsz=IMGSZ, batch=BATCH, seed=seed, device=device, cache="ram", val=False,
        plots=False, pretrained=False, verbose=False, project=str(place.parent), name=place.name, exist_ok=True,
    )  # fmt: skip
    return {"weights": str(place / "weights" / "last.pt")}


def val(weights: str, data: str, imgsz: int) -> dict[str, object]:
    """AP at conf .001, IoU .7, 300 detections."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = YOLO(weights).val(
            data=data, imgsz=imgsz, batch=16, conf=0.001, iou=0.7, max_det=300, device="cpu", plots=False,
            verbose=False, project=folder,
        )  # fmt: skip
    return {"ap": float(metrics.box.map), "ap50": float(metrics.box.map50)}


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    if what == "train":
        answer = train(words[0], int(words[1]), int(words[2]), words[3], words[4])
    else:
        answer = val(words[0], words[1], int(words[2]))
    print(json.dumps(answer))
