"""Averaged weights win wherever they are in a file; one copy is counted, and the source line tells which."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import effscope
from effscope.checkpoint.read import read_checkpoint

State = dict[str, Tensor]
MAX_SECONDS = 10


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 2, 1)


def net(seed: int) -> Net:
    torch.manual_seed(seed)
    return Net()


def prefixed(prefix: str, values: State) -> State:
    return {f"{prefix}{key}": value for key, value in values.items()}


def saved(tmp_path: Path, content: Any) -> Path:
    torch.save(content, tmp_path / "file.pt")
    return tmp_path / "file.pt"


MEAN, LAST = ({key: value.clone() for key, value in net(seed).state_dict().items()} for seed in (1, 2))
N_PARAMS = sum(value.numel() for value in net(1).parameters())
ADAM = {"state": {0: {"step": 1, "exp_avg": torch.ones(4, 3, 3, 3)}}, "param_groups": [{"lr": 1.0}]}
NAMED = {name: value for name, value in MEAN.items() if name in dict(net(1).named_parameters())}
LITEMA = {"decay": torch.tensor(0.9), "num_updates": torch.tensor(4)} | {
    k.replace(".", ""): v for k, v in NAMED.items()
}

# content of the file, and what its source line has to say
FILES: dict[str, tuple[Any, str]] = {
    "mmengine": (
        {"state_dict": MEAN, "ema_state_dict": {"steps": torch.tensor(3)} | prefixed("module.", LAST),
         "message_hub": {"runtime_info": {}}, "optimizer": ADAM},
        "'state_dict' (averaged by mmengine; not the other weights under 'ema_state_dict')",
    ),
    "mmengine without a hub": (
        {"state_dict": MEAN, "ema_state_dict": LAST, "meta": {"mmengine_version": "0.10"}}, "averaged by mmengine",
    ),
    "other meta": ({"state_dict": LAST, "ema_state_dict": MEAN, "meta": {"epoch": 1}}, "under 'ema_state_dict'"),
    "Lightning's WeightAveraging": (
        {"state_dict": MEAN, "current_model_state": LAST, "averaging_state": {"n_averaged": torch.tensor(5)}},
        "averaged by Lightning; not the other weights under 'current_model_state'",
    ),
    "SuperGradients": ({"net": LAST, "ema_net": MEAN, "acc": torch.tensor(0.5)}, "'ema_net' (not that under 'net')"),
    "ema_shadow": ({"model_state_dict": LAST, "ema_shadow": MEAN}, "under 'ema_shadow' (not that under"),
    "deep": (
        {"state_dict": LAST, "ema_state": {"ema_model": prefixed("module.", MEAN), "updates": 3}},
        "under 'ema_state.ema_model' (not that under 'state_dict')",
    ),
    "deeper": ({"model": LAST, "callbacks": {"EMA": {"x": {"averaged": MEAN}}}}, "under 'callbacks.EMA.x.averaged'"),
    "SWA": ({"state_dict": LAST, "swa_model": AveragedModel(net(1)).state_dict()}, "under 'swa_model' (not that"),
    "camel case": ({"model": LAST, "modelEMA": MEAN}, "under 'modelEMA' (not that under 'model')"),
    "DINO": (
        {"student": prefixed("module.", LAST), "teacher": MEAN, "optimizer": ADAM,
         "dino_loss": {"center": torch.ones(1, 9)}},
        "under 'teacher' (not that under 'student'), not read: 'dino_loss'",
    ),
    "teacher only": ({"teacher": MEAN, "epoch": 1}, "under 'teacher'"),
    "parameters only": ({"model": LAST | {k: MEAN[k] for k in MEAN if k not in NAMED}, "ema": {"shadow": NAMED}},
        f"under 'model', {len(NAMED)} of its {len(MEAN)} tensors averaged, from 'ema.shadow'",
    ),
    "ema_pytorch": (
        prefixed("online_model.", LAST) | prefixed("ema_model.", MEAN)
        | {"initted": torch.tensor(True), "step": torch.tensor(7)},
        "averaged weights ('ema_model.') taken, the others not, 2 counters left out (initted, step)",
    ),
    "ema_pytorch in a checkpoint": (
        {"model": LAST, "ema": prefixed("online_model.", LAST) | prefixed("ema_model.", MEAN)
         | {"initted": torch.tensor([True]), "step": torch.tensor([7])}},
        "under 'ema' (not that under 'model'), averaged weights ('ema_model.')",
    ),
    "ema_pytorch alone": (
        prefixed("ema_model.", MEAN) | {"initted": torch.tensor(True), "step": torch.tensor(7)},
        "2 counters left out (initted, step), prefix 'ema_model.' removed",
    ),
    "LitEma": (
        prefixed("model.", LAST | {k: MEAN[k] for k in MEAN if k not in NAMED}) | prefixed("model_ema.", LITEMA),
        "averaged weights ('model_ema.') taken, the others not",
    ),
    "a module and an averaged state": (
        {"model": net(2), "ema_state_dict": prefixed("module.", MEAN)},
        f"{len(MEAN)} of its {len(MEAN)} tensors averaged, from 'ema_state_dict'",
    ),
    "two modules": ({"net": net(2), "ema_net": net(1)}, "tensors averaged, from 'ema_net'"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_the_averaged_weights_are_read_once_and_it_is_said(name: str, tmp_path: Path) -> None:
    content, said = FILES[name]
    path = saved(tmp_path, content)
    found = read_checkpoint(path)
    assert said in found.source, found.source
    bare = {key.removeprefix("model."): value for key, value in found.state.items()}
    assert bare.keys() == MEAN.keys(), found.source
    assert all(torch.equal(value, MEAN[key]) for key, value in bare.items())
    assert effscope.cost(str(path)).params == N_PARAMS


# what is no average of the weights beside it: how many parameters are read, and what is said
OTHERS: dict[str, tuple[Any, int, str]] = {
    "torch_ema": (
        {"model": LAST, "ema": {"decay": 0.9, "shadow_params": list(NAMED.values()), "collected_params": None}},
        N_PARAMS, "the averaged weights under 'ema.shadow_params' have no names and were not read",
    ),
    "NeMo": (
        {"state_dict": LAST, "optimizer_states": [{"opt": ADAM, "ema": tuple(NAMED.values())}]},
        N_PARAMS, "the averaged weights under 'optimizer_states.0.ema' have no names",
    ),
    "collected": ({"model": LAST, "ema": {"collected_params": list(NAMED.values())}}, N_PARAMS, "under 'model'"),
    "a module and a list": (
        {"model": net(2), "ema": {"shadow_params": list(NAMED.values())}}, N_PARAMS, "were not read",
    ),
    "other shapes": (
        {"model": LAST, "ema_net": {"body.0.weight": torch.ones(5, 5)}}, N_PARAMS, "'model', not read: 'ema_net'",
    ),
    "a teacher of another form": (
        {"student": LAST, "teacher": {"body.weight": torch.ones(5, 5)}}, N_PARAMS + 25, "2 networks: student, teacher",
    ),
    "exp_avg by name": (
        {"model": LAST, "optimizer": {"exp_avg": MEAN}, "states": {"exp_avg": MEAN}}, N_PARAMS, "under 'model'",
    ),
    "a word inside a word": (
        {"model": LAST, "schema": MEAN}, N_PARAMS, "under 'model', not read: 'schema'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_average_is_not_taken_for_one(name: str, tmp_path: Path) -> None:
    content, n_params, said = OTHERS[name]
    path = saved(tmp_path, content)
    found = read_checkpoint(path)
    assert said in found.source, found.source
    assert effscope.cost(str(path)).params == n_params
    weight = next(value for key, value in found.state.items() if key.endswith("body.0.weight"))
    assert torch.equal(weight, LAST["body.0.weight"])


def test_two_averaged_networks_in_one_flat_state_dict(tmp_path: Path) -> None:
    small, mean = {"c.weight": torch.zeros(2, 3)}, {"c.weight": torch.ones(2, 3)}
    flat = prefixed("g.", LAST) | prefixed("d.", small) | prefixed("g_ema.", MEAN) | prefixed("d_ema.", mean)
    found = read_checkpoint(saved(tmp_path, flat))
    assert found.state.keys() == (prefixed("g.", MEAN) | prefixed("d.", mean)).keys()
    assert torch.equal(found.state["g.head.weight"], MEAN["head.weight"])
    assert torch.equal(found.state["d.c.weight"], mean["c.weight"])
    assert "averaged weights ('g_ema.', 'd_ema.') taken" in found.source


def test_a_teacher_beside_a_student_in_one_state_dict_is_a_part_of_it(tmp_path: Path) -> None:
    """Feature distillation has two networks of the same form, and runs both."""
    flat = prefixed("student.", LAST) | prefixed("teacher.", MEAN)
    assert effscope.cost(str(saved(tmp_path, flat))).params == 2 * N_PARAMS


def test_a_pickled_module_keeps_its_buffers_and_layers(tmp_path: Path) -> None:
    found = read_checkpoint(saved(tmp_path, {"model": net(2), "ema_state_dict": NAMED}))
    assert found.buffers == MEAN.keys() - NAMED.keys()
    assert [record.path for record in found.modules] == [name for name, _ in net(1).named_modules()]
    assert torch.equal(found.state["head.weight"], MEAN["head.weight"])
    assert f"{len(NAMED)} of its {len(MEAN)} tensors averaged" in found.source


def test_many_names_of_averages_end_quickly(tmp_path: Path) -> None:
    start = time.process_time()
    one = torch.ones(2, 2)
    flat = {f"ema{n}.w{n}": one for n in range(5_000)} | {f"part{n}.x": one for n in range(5_000)}
    assert len(read_checkpoint(saved(tmp_path, flat)).state) == 10_000
    assert time.process_time() - start < MAX_SECONDS
