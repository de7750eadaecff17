"""Which weights a state dict holds: averaged copies, wrappers and counters of common training code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from effscope.checkpoint.read import read_checkpoint
from effscope.checkpoint.write import write_safetensors

State = dict[str, Tensor]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 2, 1)


def net(seed: int) -> Net:
    torch.manual_seed(seed)
    return Net()


def state(seed: int) -> State:
    return dict(net(seed).state_dict())


def prefixed(prefix: str, values: State) -> State:
    return {f"{prefix}{key}": value for key, value in values.items()}


def read(tmp_path: Path, content: Any) -> tuple[State, str]:
    torch.save(content, tmp_path / "file.pt")
    found = read_checkpoint(tmp_path / "file.pt")
    return found.state, found.source


MEAN, LAST = state(1), state(2)
FILES: dict[str, Any] = {
    "RT-DETR": {"model": LAST, "ema": {"module": MEAN, "updates": 9, "decay": torch.tensor(0.99)}},
    "timm": {"state_dict": LAST, "state_dict_ema": MEAN, "epoch": 1},
    "BasicSR": {"params": LAST, "params_ema": MEAN},
    "diffusers": {"model_state_dict": LAST, "ema_state_dict": MEAN},
    "a model_ema entry": {"model": LAST, "model_ema": MEAN, "optimizer": {}},
    "a shadow": {"model": LAST, "ema": {"shadow": MEAN}},
    "Lightning": {"state_dict": prefixed("model.", LAST) | prefixed("ema_model.", MEAN)},
    "an averaged model inside": {"state_dict": LAST | prefixed("model_ema.module.", MEAN)},
    "mmcv": {"state_dict": LAST | {f"ema_{key.replace('.', '_')}": value for key, value in MEAN.items()}},
    "torch's AveragedModel": dict(AveragedModel(net(1)).state_dict()),
    "DataParallel and torch.compile around all": {"model": prefixed("module._orig_mod.", MEAN)},
    "DataParallel inside": {k.replace("body.", "body.module."): v for k, v in MEAN.items()},
    "torch.compile inside": {k.replace("body.0.", "body.0._orig_mod."): v for k, v in MEAN.items()},
    "thop": MEAN | {f"{m}total_{kind}": torch.zeros(1) for m in ("", "body.", "body.0.") for kind in ("ops", "params")},
}


@pytest.mark.parametrize("name", FILES)
def test_the_averaged_weights_are_read_by_their_own_names(name: str, tmp_path: Path) -> None:
    found, source = read(tmp_path, FILES[name])
    names = {key.removeprefix("model.") for key in found}
    assert names == MEAN.keys(), source
    for key, value in found.items():
        assert torch.equal(value, MEAN[key.removeprefix("model.")]), (key, source)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("RT-DETR", "under 'ema.module' (not that under 'model')"),
        ("timm", "under 'state_dict_ema' (not that under 'state_dict')"),
        ("Lightning", "averaged weights ('ema_model.') taken, the others not"),
        ("mmcv", "averaged weights ('ema_') taken, the others not"),
        ("torch's AveragedModel", "1 counters left out (n_averaged), prefix 'module.' removed from its keys"),
        ("DataParallel inside", "'module' removed inside 7 keys"),
        ("thop", "6 counters left out (total_ops, total_params)"),
    ],
)
def test_what_was_read_is_said(name: str, said: str, tmp_path: Path) -> None:
    assert said in read(tmp_path, FILES[name])[1]


def test_safetensors_are_tidied_too(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", LAST | prefixed("ema.", {k: v + 1 for k, v in LAST.items()}), {})
    found = read_checkpoint(tmp_path / "a.safetensors")
    assert found.state.keys() == LAST.keys() and torch.equal(found.state["head.bias"], LAST["head.bias"] + 1)


def test_a_module_of_such_a_name_is_kept(tmp_path: Path) -> None:
    """A part named `ema` that is no second copy, and one named `module` beside others."""
    own = LAST | prefixed("ema.", {"gate.weight": torch.ones(3)}) | prefixed("body.module.", {"weight": torch.ones(2)})
    found, _ = read(tmp_path, own)
    assert found.keys() == own.keys()
