"""Two processes that Accelerate starts end with the weights of a single process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from effscope.errors import EffscopeError
from effscope.training.processes import Processes, processes

LAUNCH = (
    sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1",
    "--main_process_port", "0",
)  # fmt: skip
"""`--multi_gpu` names the launcher; without a GPU the processes run on the CPU."""

SCRIPT = """
import sys
import torch
from effscope.nn import precision
precision.gains_from_bfloat16 = lambda device: False  # sums in another order differ in the last bits only
from support.small_detector import coloured_squares, small_network
from effscope.config import TrainConfig
from effscope.progress import leads, together
from effscope.recipes import Recipe
from effscope.training.train import train
torch.set_num_threads(1)
recipe = Recipe(optimizer="sgd", lr=2e-3, warmup_epochs=0, close_mosaic_epochs=1, nominal_batch=8)
config = TrainConfig(data="made", imgsz=64, epochs=2, batch=4, device="cpu", recipe=recipe)
found = {n: train(small_network(), coloured_squares(n), config) for n in (9, 10)}
if leads():
    kept = {n: {"state": one.state, "history": list(one.history)} for n, one in found.items()}
    torch.save({"runs": kept, "start": small_network().state_dict(), "together": together()}, sys.argv[1])
"""
"""Ten images: the last batch has two, one per process. Nine: it has a single one, which both processes learn."""


def run(*words: object) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run(sys.executable, script, tmp_path / "one.pt")
    run(*LAUNCH, script, tmp_path / "two.pt")
    one, two = (torch.load(tmp_path / name) for name in ("one.pt", "two.pt"))
    assert (one["together"], two["together"]) == (1, 2)
    for n, most in ((9, 0.1), (10, 0.02)):
        alone, shared = one["runs"][n], two["runs"][n]
        for a, b in zip(alone["history"], shared["history"], strict=True):
            terms = {name: a[name] for name in ("box", "cls", "dfl")}
            assert {name: b[name] for name in terms} == pytest.approx(terms, rel=1e-3)
        for key, value in alone["state"].items():
            if n == 9 and key.endswith("running_var"):
                continue  # an image that both processes learn counts twice in Bessel's correction
            moved = (value - one["start"][key]).float().norm()
            assert (shared["state"][key] - value).float().norm() <= most * moved + 1e-7, (n, key)


def test_the_command_under_accelerate_leaves_one_result(tmp_path: Path) -> None:
    sizes = ("--limit-train", "8", "--limit-val", "4", "--batch", "4")
    words = ("train", "yolov8n", "--imgsz", "64", "--epochs", "1", *sizes)
    run(*LAUNCH, "-m", "effscope", *words, "--device", "cpu", "--out", tmp_path / "run", "--json", tmp_path / "r.json")
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["images"] == 4
    assert len(result["history"]) == 1
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert not (tmp_path / "run" / "training.state").exists()


def test_shares_together_are_the_batch() -> None:
    for n in range(2, 20):
        for count in (1, 2, 3):
            parts = [list(range(n))[Processes(rank, count, torch.device("cpu")).share(n)] for rank in range(count)]
            if n >= count:
                assert [k for part in parts for k in part] == list(range(n))
                assert max(map(len, parts)) - min(map(len, parts)) <= 1
            else:
                assert parts == [list(range(n))] * count


def test_several_processes_need_accelerate_and_devices_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(EffscopeError, match="each gets its own"):
        processes("cuda:1")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(EffscopeError, match=r"effscope\[distributed\]"):
        processes("cpu")


def test_a_search_refuses_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    from effscope.api import search

    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(EffscopeError, match="one process"):
        search("yolov8n")
