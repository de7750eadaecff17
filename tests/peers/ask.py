"""What the tests ask Ultralytics: ask.py FUNCTION FOLDER. Runs in the peers' environment only.

Every function reads its question in the folder (question.json or question.pt) and leaves its answer there.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from ultralytics import YOLO
from ultralytics.data.augment import LetterBox
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, parse_model, yaml_model_load
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.torch_utils import get_flops


def _opened(case: dict) -> YOLO:
    yolo = YOLO(case["model"], task="detect", verbose=False)
    weights = case.get("weights")
    if weights:
        safe = weights.endswith(".safetensors")
        state = load_file(weights) if safe else torch.load(weights, weights_only=True)
        yolo.model.load_state_dict(state, strict=True)
    yolo.model.float().eval()
    return yolo


def outputs(folder: Path) -> None:
    """Raw levels, decoded output, counts and tensors of models, before and after their `fuse`."""
    answers = {}
    for case in json.loads((folder / "question.json").read_text()):
        model = _opened(case).model
        images = torch.load(case["images"], weights_only=True)
        with torch.inference_mode():
            decoded, raw = model(images)
            answer = {
                "decoded": decoded,
                "raw": torch.cat((raw["boxes"], raw["scores"]), 1),
                "shapes": {key: tuple(value.shape) for key, value in model.state_dict().items()},
                "params": sum(p.numel() for p in model.parameters()),
            }
            model.fuse(verbose=False)
            answer["fused_params"] = sum(p.numel() for p in model.parameters())
            answer["fused"] = model(images)[0]
        answers[case["name"]] = answer
    torch.save(answers, folder / "answer.pt")


def counts(folder: Path) -> None:
    """Parameters of models by their YAML names, or why they cannot be built."""
    answers = {}
    for name in json.loads((folder / "question.json").read_text()):
        try:
            with torch.device("meta"):
                made, _ = parse_model(yaml_model_load(name), ch=3, verbose=False)
            answers[name] = sum(p.numel() for p in made.parameters())
        except Exception as error:
            answers[name] = f"{type(error).__name__}: {error}"
    (folder / "answer.json").write_text(json.dumps(answers))


def flops(folder: Path) -> None:
    """What `info()` says of models, in FLOPs."""
    names = json.loads((folder / "question.json").read_text())
    told = {name: round(get_flops(YOLO(f"{name}.yaml", verbose=False).model, 640) * 1e9) for name in names}
    (folder / "answer.json").write_text(json.dumps(told))


def checkpoints(folder: Path) -> None:
    """A checkpoint of each model by YAML name, as this package pickles it in half precision."""
    for name in json.loads((folder / "question.json").read_text()):
        kind = RTDETRDetectionModel if "rtdetr" in name else DetectionModel
        model = kind(name, verbose=False).half()
        torch.save({"epoch": -1, "model": model, "ema": None}, folder / f"{Path(name).stem}.pt")


def channels(folder: Path) -> None:
    """Of models for images of some channels: parameters, a checkpoint, and what `info()` says of rectangles."""
    answers = {}
    for name, ch, sides in json.loads((folder / "question.json").read_text()):
        model = DetectionModel(f"{name}.yaml", ch=ch, verbose=False)
        told = round(get_flops(model, sides) * 1e9)
        answers[f"{name}-{ch}"] = {"params": sum(p.numel() for p in model.parameters()), "flops": told}
        torch.save({"epoch": -1, "model": model.half(), "ema": None}, folder / f"{name}-{ch}.pt")
    (folder / "answer.json").write_text(json.dumps(answers))


def _enlivened(model: torch.nn.Module, images: torch.Tensor) -> None:
    """Random gains, shifts and real statistics in every batch norm, so that signal reaches the heads."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0, 0.3)
        norm.momentum = 1.0
    model.train()
    with torch.no_grad():
        model(images)
    model.eval()


def heads(folder: Path) -> None:
    """Random lively weights of models by YAML name, and what their heads give raw: o2m, and o2o where there is one."""
    answers = {}
    for name in json.loads((folder / "question.json").read_text()):
        torch.manual_seed(len(name))
        model = YOLO(name, verbose=False).model.float()
        images = torch.rand(2, 3, 128, 192)
        _enlivened(model, images)
        with torch.inference_mode():
            raw = model(images)[1]
        views = {"o2m": raw["one2many"], "o2o": raw["one2one"]} if "one2many" in raw else {"o2m": raw}
        answers[name] = {
            "images": images,
            "state": model.state_dict(),
            "raw": {view: torch.cat((out["boxes"], out["scores"]), 1) for view, out in views.items()},
        }
    torch.save(answers, folder / "answer.pt")


def projected(folder: Path) -> None:
    """Random lively weights of an RT-DETR by YAML name, and the maps its decoder reads, projected to one width."""
    name = (folder / "question.txt").read_text()
    torch.manual_seed(3)
    model = RTDETRDetectionModel(name, verbose=False).float()
    images = torch.rand(1, 3, 128, 192)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0, 0.3)
    model.eval()
    maps = []
    for projection in model.model[-1].input_proj:
        projection.register_forward_hook(lambda module, given, out: maps.append(out))
    with torch.inference_mode():
        model(images)
    torch.save({"images": images, "state": model.state_dict(), "maps": maps}, folder / "answer.pt")


def predict(folder: Path) -> None:
    """Detections with the default settings, one picture at a time: together, unequal sizes are all made square."""
    case = json.loads((folder / "question.json").read_text())
    yolo = _opened(case)
    results = [yolo.predict(picture, device="cpu", verbose=False, save=False)[0] for picture in case["pictures"]]
    found = [{"boxes": r.boxes.xyxy, "scores": r.boxes.conf, "labels": r.boxes.cls} for r in results]
    torch.save({"found": found, "names": yolo.names}, folder / "answer.pt")


def suppress(folder: Path) -> None:
    """Non-maximum suppression of decoded tensors."""
    answers = []
    for case in torch.load(folder / "question.pt", weights_only=True):
        decoded = case.pop("decoded")
        answers.append([rows.clone() for rows in non_max_suppression(decoded, max_time_img=60.0, **case)])
    torch.save(answers, folder / "answer.pt")


def letterbox(folder: Path) -> None:
    """Pictures fitted into the network's input."""
    pictures = np.load(folder / "question.npz")
    fit = LetterBox(new_shape=(640, 640), auto=True, stride=32)
    np.savez(folder / "answer.npz", **{name: fit(image=pictures[name]) for name in pictures})


def save(folder: Path) -> None:
    """Checkpoints as this package writes them, and beside each the true tensors as safetensors."""
    torch.manual_seed(0)
    yolo = YOLO("yolov8n.yaml", task="detect", verbose=False)
    model = yolo.model
    for value in model.state_dict().values():
        value.add_(torch.randn_like(value) * 0.01 if value.is_floating_point() else 3)
    model.names = {k: f"kind {k}" for k in range(80)}
    other = YOLO("yolov8n.yaml", task="detect", verbose=False).model
    truths = {}

    def keep(name: str, truth: torch.nn.Module) -> None:
        truths[name] = {key: value.clone() for key, value in truth.state_dict().items()}

    keep("fp32", model)
    torch.save({"epoch": -1, "model": model, "ema": None, "version": "8"}, folder / "fp32.pt")
    keep("ema", model)
    torch.save({"epoch": 3, "model": other, "ema": model, "optimizer": {"state": {}}}, folder / "ema.pt")
    keep("both", model)
    torch.save(model, folder / "both.pt")
    yolo.save(folder / "saved.pt")
    model.half()
    keep("saved", model)
    keep("fp16", model)
    torch.save({"epoch": -1, "model": None, "ema": model}, folder / "fp16.pt")
    for name, truth in truths.items():
        save_file(truth, folder / f"{name}.safetensors")


def exported(folder: Path) -> None:
    """A .pt as `YOLO(...)` opens it: names, raw outputs and tensors; then one epoch of training goes on from it."""
    case = json.loads((folder / "question.json").read_text())
    yolo = YOLO(case["weights"])
    images = torch.load(case["images"], weights_only=True)
    yolo.model.float().eval()
    with torch.inference_mode():
        raw = yolo.model(images)[1]
    raw = raw.get("one2many", raw)
    torch.save(torch.cat((raw["boxes"], raw["scores"]), 1), folder / "answer.pt")
    before = {key: value.clone() for key, value in yolo.model.state_dict().items()}
    YOLO(case["weights"]).train(
        data=case["data"], epochs=1, imgsz=64, batch=4, device="cpu", workers=0, project=str(folder), name="run",
        plots=False, verbose=False, amp=False, lr0=1e-9, warmup_epochs=0.0, optimizer="SGD", momentum=0.0,
    )  # fmt: skip
    after = YOLO(folder / "run" / "weights" / "last.pt").model.float().state_dict()
    moved = max(
        float((after[k].float() - v.float()).abs().max()) for k, v in before.items() if k.endswith("conv.weight")
    )
    same = {key: tuple(value.shape) for key, value in before.items()} == {
        key: tuple(value.shape) for key, value in after.items()
    }
    answer = {"names": list(yolo.names.values()), "moved": moved, "same shapes": same}
    (folder / "answer.json").write_text(json.dumps(answer))


def graphs(folder: Path) -> None:
    """ONNX files of a .pt: as it is, of any size, in half precision."""
    case = json.loads((folder / "question.json").read_text())
    for name, options in case["exports"].items():
        written = YOLO(case["weights"]).export(format="onnx", imgsz=case["imgsz"], simplify=False, **options)
        Path(written).rename(folder / f"{name}.onnx")


def train(folder: Path) -> None:
    """One epoch of training from model.yaml on data.yaml."""
    yolo = YOLO(folder / "model.yaml", task="detect")
    options = {"device": "cpu", "workers": 0, "plots": False, "project": str(folder), "name": "run", "exist_ok": True}
    yolo.train(data=str(folder / "data" / "data.yaml"), epochs=1, imgsz=64, batch=4, **options)
    trained = YOLO(folder / "run" / "weights" / "last.pt")
    state = trained.model.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "trained.safetensors")
    (folder / "answer.json").write_text(json.dumps({"names": list(trained.names.values())}))


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
