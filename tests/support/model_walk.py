"""Models of torchvision and timm in six formats: their parameters and ranks, found without effscope.

The truth on ranks: hooks tell which module made the tensor that a norm reads; NumPy gives the singular values.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SIDE = 64


def torchvision_model(name: str) -> nn.Module:
    try:
        made: nn.Module = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    except (TypeError, ValueError):
        made = torchvision.models.get_model(name, weights=None)
    return made


def lively(module: nn.Module, seed: int = 0) -> nn.Module:
    """Norms with scales and statistics far from 1 and 0, and weights of several sizes: a wrong fold changes ranks."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():  # exporters merge tensors that are equal
            parameter.add_(1e-3 * torch.randn(parameter.shape, generator=random))
        for each in module.modules():
            if isinstance(each, NORMS):
                if each.weight is not None:
                    each.weight.copy_(10 ** (2 * torch.rand(each.weight.shape, generator=random) - 1))
                each.running_var.copy_(0.5 + torch.rand(each.running_var.shape, generator=random))
                each.running_mean.copy_(torch.randn(each.running_mean.shape, generator=random))
    return module.eval()


def image(module: nn.Module, name: str) -> Tensor:
    """An image that the model takes."""
    if "r3d" in name or "mc3" in name or "r2plus1d" in name:
        return torch.zeros(1, 3, 8, SIDE, SIDE)
    facts = getattr(module, "default_cfg", None) or {}
    fixed = facts.get("fixed_input_size") or "vit" in name or "inception" in name
    side = facts.get("input_size", (3, 299 if "inception" in name else 224, 0))[1] if fixed else SIDE
    return torch.zeros(1, 3, side, side)


def followed(module: nn.Module, x: Tensor) -> tuple[dict[str, str], set[str]]:
    """Convolution -> the norm that reads its output, by running the model; and the convolutions that ran."""
    made: dict[int, str] = {}
    read: dict[str, str] = {}
    keep: list[Tensor] = []
    names = {id(each): path for path, each in module.named_modules()}

    def after(each: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        keep.append(out)
        made[id(out)] = names[id(each)]

    def before(each: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in made:
            read[made[id(inputs[0])]] = names[id(each)]

    for each in module.modules():
        if isinstance(each, CONVS):
            each.register_forward_hook(after)
        elif isinstance(each, NORMS):
            each.register_forward_pre_hook(before)
    with torch.no_grad():
        module(x)
    for each in module.modules():
        each._forward_hooks.clear()
        if isinstance(each, NORMS):
            each._forward_pre_hooks.clear()
    return read, set(made.values())


@dataclass(frozen=True)
class Truth:
    """Parameters of a model, and path -> (shape of one group, groups, rank) of its convolutions of torch's own class.

    `raw` has the same without a norm folded in. `computed` holds the paths of convolutions of other classes.
    """

    params: int
    ranks: dict[str, tuple[tuple[int, int], int, int]]
    raw: dict[str, tuple[tuple[int, int], int, int]]
    computed: frozenset[str]


def truth(module: nn.Module, x: Tensor) -> Truth:
    norm_of, called = followed(module, x)
    modules = dict(module.named_modules())
    convs = {path: each for path, each in modules.items() if isinstance(each, CONVS)}
    plain = {path: each for path, each in convs.items() if type(each) in CONVS and path in called}
    norms = {path: modules[norm_of[path]] if path in norm_of else None for path in plain}
    ranks = {path: rank(conv, norms[path]) for path, conv in plain.items()}
    raw = {path: rank(conv, None) for path, conv in plain.items()}
    params = sum(p.numel() for p in module.parameters())
    return Truth(params, ranks, raw, frozenset(convs) - frozenset(plain))


def rank(conv: nn.Module, norm: nn.Module | None) -> tuple[tuple[int, int], int, int]:
    groups, weight = conv.groups, conv.weight.detach().double()
    if conv.transposed:
        weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    if norm is not None:
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight.detach().double()
        weight = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    blocks = weight.reshape(groups, len(weight) // groups, -1).numpy()
    values = np.linalg.svd(blocks, compute_uv=False)
    return blocks.shape[1:], groups, int((values > 0.5 * values.max()).sum())


# -- formats -----------------------------------------------------------------------------------------------------------


def state_dict(module: nn.Module, x: Tensor, file: Path) -> None:
    torch.save(module.state_dict(), file)


def sorted_safetensors(module: nn.Module, x: Tensor, file: Path) -> None:
    held: dict[int, str] = {}
    state = {}
    for key, value in module.state_dict().items():
        if held.setdefault(value.data_ptr(), key) == key or not value.numel():
            state[key] = value.contiguous()
    save_file(dict(sorted(state.items())), file)


def whole_pickle(module: nn.Module, x: Tensor, file: Path) -> None:
    torch.save(module, file)


def torchscript(module: nn.Module, x: Tensor, file: Path) -> None:
    with torch.no_grad():
        torch.jit.trace(module, x, check_trace=False).save(file)


def pt2(module: nn.Module, x: Tensor, file: Path) -> None:
    torch.export.save(torch.export.export(module, (x,), strict=False), file)


def onnx(module: nn.Module, x: Tensor, file: Path) -> None:
    torch.onnx.export(module, (x,), str(file), dynamo=False)


FORMATS: dict[str, tuple[str, Callable[[nn.Module, Tensor, Path], None]]] = {
    "state dict": ("state.pt", state_dict),
    "safetensors": ("sorted.safetensors", sorted_safetensors),
    "whole pickle": ("whole.pt", whole_pickle),
    "TorchScript": ("traced.pt", torchscript),
    "pt2": ("program.pt2", pt2),
    "ONNX": ("graph.onnx", onnx),
}


def files(module: nn.Module, x: Tensor, folder: Path) -> Iterator[tuple[str, Path | None]]:
    """The model in each format; None where torch itself cannot write it."""
    for name, (file, write) in FORMATS.items():
        quiet = io.StringIO()
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
                warnings.simplefilter("ignore")
                write(module, x, folder / file)
        except Exception:  # torch's exporters raise all kinds of errors
            yield name, None
        else:
            yield name, folder / file
