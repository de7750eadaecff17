"""Files of several networks, and of numpy arrays: all weights are read, with the path as prefix of their names."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.checkpoints import TorchZip
from torch import Tensor, nn

import effscope
from effscope.checkpoint.read import read_checkpoint
from effscope.errors import EffscopeError

State = dict[str, Tensor]


def generator(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3))


def discriminator(seed: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 1, 3))


def size(*modules: nn.Module) -> int:
    return sum(value.numel() for module in modules for value in module.parameters())


def adam() -> dict[str, Any]:
    model = generator()
    optimizer = torch.optim.Adam(model.parameters())
    sum(value.sum() for value in model.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    return optimizer.state_dict()


def saved(tmp_path: Path, content: Any) -> Path:
    torch.save(content, tmp_path / "file.pt")
    return tmp_path / "file.pt"


G, D, OTHER = dict(generator().state_dict()), dict(discriminator().state_dict()), dict(generator(3).state_dict())
BY_NAME = {"state": {"0.weight": {"exp_avg": torch.ones(8, 4, 3, 3), "step": torch.ones(1)}}, "param_groups": []}

# content of the file -> the networks by prefix, and what its source line has to say
FILES: dict[str, tuple[Any, dict[str, State], str]] = {
    "StyleGAN2": (
        {"g": OTHER, "d": D, "g_ema": G, "g_optim": adam(), "d_optim": {"state": {}}, "ada_aug_p": 0.0},
        {"g.": G, "d.": D}, "state dict of 2 networks: g (averaged, under 'g_ema'), d",
    ),
    "a GAN": (
        {"generator": G, "discriminator": D, "optimizer_G": adam(), "epoch": 1},
        {"generator.": G, "discriminator.": D}, "2 networks: generator, discriminator",
    ),
    "CycleGAN": (
        {"netG_A": G, "netG_B": OTHER, "netD_A": D},
        {"netG_A.": G, "netG_B.": OTHER, "netD_A.": D}, "3 networks: netG_A, netG_B, netD_A",
    ),
    "parts of a model": (
        {"model": {"backbone": G, "head": D}, "optimizer": BY_NAME},
        {"backbone.": G, "head.": D}, "2 networks: backbone, head",
    ),
    "an encoder": (
        {"encoder": G, "decoder": D, "height": 192}, {"encoder.": G, "decoder.": D}, "2 networks: encoder, decoder",
    ),
    "deep": (
        {"epoch": 4, "state": {"model": {"net": {"weights": G}}}}, {"": G}, "under 'state.model.net.weights'",
    ),
    "a list": ([G, D], {"0.": G, "1.": D}, "2 networks: 0, 1"),
    "a list inside": ({"models": [G, D], "step": 3}, {"0.": G, "1.": D}, "2 networks: 0, 1"),
    "an average under a known key": (
        {"gen": OTHER, "disc": D, "ema": G}, {"gen.": G, "disc.": D}, "2 networks: gen (averaged, under 'ema'), disc",
    ),
    "an average that fits two": (
        {"a": G, "b": OTHER, "ema": dict(G)}, {"a.": G, "b.": OTHER}, "2 networks: a, b, not read: 'ema'",
    ),
    "losses and counts": (
        {"unet": G, "loss": {"weight": torch.ones(3, 3)}, "metrics": {"confusion": torch.ones(8, 8)},
         "rng": {"cpu": torch.ones(9)}},
        {"": G}, "under 'unet', not read: 'loss', 'metrics'",
    ),
    "one network at two times": (
        {"best_model": G, "last_model": OTHER}, {"": G}, "under 'best_model' (not that under 'last_model')",
    ),
    "the same dictionary twice": ({"unet": G, "copy": G}, {"": G}, "under 'unet'"),
    "optimizers without that name": ({"unet": G, "solver": BY_NAME, "a": adam()}, {"": G}, "under 'unet'"),
    "a known key": ({"state_dict": G, "discriminator": D}, {"": G}, "under 'state_dict', not read: 'discriminator'"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_all_networks_are_read_and_said(name: str, tmp_path: Path) -> None:
    content, networks, said = FILES[name]
    path = saved(tmp_path, content)
    found = read_checkpoint(path)
    assert said in found.source, found.source
    wanted = {f"{prefix}{key}": value for prefix, state in networks.items() for key, value in state.items()}
    assert found.state.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[key]) for key, value in found.state.items())
    assert effscope.cost(str(path)).params == sum(value.numel() for value in wanted.values())


def test_nested_deeper_than_four_keys_is_no_state_dict(tmp_path: Path) -> None:
    with pytest.raises(EffscopeError, match="no model and no state dict"):
        read_checkpoint(saved(tmp_path, {"a": {"b": {"c": {"d": {"e": G}}}}}))


def test_too_many_state_dicts_are_refused(tmp_path: Path) -> None:
    content = [{"weight": torch.ones(1, n)} for n in range(1, 70)]
    with pytest.raises(EffscopeError, match="69 state dicts, more than 32"):
        read_checkpoint(saved(tmp_path, content))


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    content = {"a": {"b.weight": torch.ones(2, 2)}, "a.b": {"weight": torch.ones(3, 3)}}
    with pytest.raises(EffscopeError, match="have the same name"):
        read_checkpoint(saved(tmp_path, content))


def test_a_file_that_refers_to_its_lists_many_times_ends(torch_zip: TorchZip) -> None:
    wide: Any = []
    for _ in range(6):
        wide = [wide] * 5_000
    with pytest.raises(EffscopeError, match="no model and no state dict"):
        read_checkpoint(torch_zip({"a": wide}))


def test_pickled_modules_under_any_key(tmp_path: Path) -> None:
    g, d = generator(), discriminator()
    path = saved(tmp_path, {"netG": generator(3), "netD": d, "netG_ema": g, "optimG": adam()})
    found = read_checkpoint(path)
    assert "2 networks: netG (averaged, under 'netG_ema'), netD" in found.source
    assert torch.equal(found.state["netG.0.weight"], g.state_dict()["0.weight"]) and found.buffers == frozenset()
    assert [record.path for record in found.modules] == [
        "netG",
        "netG.0",
        "netG.1",
        "netG.2",
        "netD",
        *(f"netD.{n}" for n in "012"),
    ]
    assert effscope.cost(str(path)).params == size(g, d)
    one = read_checkpoint(saved(tmp_path, {"unet": g, "loss": nn.CrossEntropyLoss(torch.ones(3))}))
    assert "(model under 'unet')" in one.source and one.state.keys() == G.keys()


ARRAYS: dict[str, Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]] = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "big endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "doubles": lambda a: a.astype("f8"),
    "halves": lambda a: a.astype("f2"),
    "integers": lambda a: (100 * a).astype("i4"),
    "bytes": lambda a: (100 * a).astype("u1"),
    "booleans": lambda a: a > 0,
    "empty": lambda a: a[:0],
    "one number": lambda a: np.array(a.sum()),
    "a view": lambda a: a[::2, :, ::-1],
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", ARRAYS)
def test_numpy_arrays_are_read(name: str, protocol: int, tmp_path: Path) -> None:
    state = {"0.weight": ARRAYS[name](G["0.weight"].numpy()), "0.bias": G["0.bias"].numpy()}
    torch.save({"model": state}, tmp_path / "file.pt", pickle_protocol=protocol)
    found = read_checkpoint(tmp_path / "file.pt").state
    native = {key: np.array(value, dtype=value.dtype.newbyteorder("=")) for key, value in state.items()}
    assert found.keys() == state.keys()
    for key, value in found.items():
        assert torch.equal(value, torch.from_numpy(native[key])) and value.dtype == torch.from_numpy(native[key]).dtype


def test_numpy_weights_count_as_those_of_torch(tmp_path: Path) -> None:
    path = saved(tmp_path, {key: value.numpy() for key, value in G.items()})
    assert effscope.cost(str(path)).params == size(generator())


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([["a", "b"]]), "numpy arrays, one of the type 'U1': re-save it with"),
        (np.array([[None, 1]], dtype=object), "numpy arrays, one of the type 'O8': re-save it with"),
        (np.zeros((2, 2), "c8"), "numpy arrays, one of the type 'c8': re-save it with"),
    ],
)
def test_numpy_arrays_that_torch_has_not_are_named(array: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(EffscopeError, match=said):
        read_checkpoint(saved(tmp_path, {"0.weight": array}))


class Array:
    """Pickles as a numpy array with any shape and bytes."""

    def __init__(self, shape: tuple[Any, ...], data: object) -> None:
        self.shape, self.data = shape, data

    def __reduce__(self) -> Any:
        rebuild, args, state = np.zeros(1, "f4").__reduce__()  # type: ignore[misc]
        return rebuild, args, (1, self.shape, state[2], False, self.data)


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ((2, 2), bytes(15)), ((2, 2), bytes(17)), ((-2, -2), bytes(16)), ((2**62, 0), b""), ((2**40, 2**40), bytes(4)),
        ((1,) * 65, bytes(4)), ((0, -1), b""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_arrays_end_in_one_line(
    shape: tuple[int, ...], data: bytes, protocol: int, torch_zip: TorchZip
) -> None:
    with pytest.raises(EffscopeError) as caught:
        read_checkpoint(torch_zip(pickle.dumps({"0.weight": Array(shape, data)}, protocol=protocol)))
    assert "numpy array" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [("2", 2), (2.0, 2), (True, 4), None])
def test_arrays_of_another_form_are_no_weights(shape: Any, torch_zip: TorchZip) -> None:
    with pytest.raises(EffscopeError, match="no model and no state dict"):
        read_checkpoint(torch_zip(pickle.dumps({"0.weight": Array(shape, bytes(16))}, protocol=2)))
