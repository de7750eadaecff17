"""Weights that a file holds in parts, put together: weight norm, spectral norm, pruning masks.

Sources: `torch.nn.utils.weight_norm`, `spectral_norm`, `prune`, and `torch.nn.utils.parametrizations`: their names of
tensors and their formulas in eval mode.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
Formula = Callable[..., Tensor]


def _weight_norm(v: Tensor, g: Tensor) -> Tensor:
    """g * v / |v|; the norm is over all dimensions in which g has one value."""
    dims = [d for d in range(v.dim()) if g.dim() == 0 or g.shape[d] == 1]
    norm = torch.linalg.vector_norm(v, dim=dims, keepdim=True) if dims else v.abs()
    return v * (g / norm)


def _spectral_norm(weight: Tensor, u: Tensor, v: Tensor | None = None) -> Tensor:
    """W / (u^T W v), with W as a matrix whose rows are the dimension of u."""
    matrix = weight.transpose(0, 0 if len(u) == len(weight) else 1).flatten(1)
    right = torch.nn.functional.normalize(matrix.T @ u, dim=0) if v is None else v
    return weight / torch.dot(u, matrix @ right)


def _is_norm(v: Tensor, others: Sequence[Tensor]) -> bool:
    g = others[0]
    sides = g.dim() == 0 or (g.dim() == v.dim() and all(a in (1, b) for a, b in zip(g.shape, v.shape, strict=True)))
    return sides and sum(side > 1 for side in g.shape) <= 1


def _is_spectrum(weight: Tensor, others: Sequence[Tensor]) -> bool:
    sides = weight.shape[:2] if weight.dim() > 1 else ()
    return all(other.dim() == 1 for other in others) and len(others[0]) in sides


def _is_mask(weight: Tensor, others: Sequence[Tensor]) -> bool:
    return others[0].shape == weight.shape


@dataclass(frozen=True)
class Parts:
    """The parts of a weight by one tool. Names are without the owner's path; {} stands for the name of the weight.

    Attributes:
        name: name of the tool for the user.
        trained: the part that becomes the weight.
        kept: further parameters.
        buffers: parts that are no parameters.
        formula: the parts in the order trained, kept, buffers -> the weight.
        fits: whether the shapes of (trained, [kept, buffers]) are those of this tool.
        optional: a buffer that old versions do not store, or "".
    """

    name: str
    trained: str
    kept: tuple[str, ...]
    buffers: tuple[str, ...]
    formula: Formula
    fits: Callable[[Tensor, Sequence[Tensor]], bool]
    optional: str = ""

    @property
    def pattern(self) -> str:
        """Pattern of the key of the trained part."""
        before, after = map(re.escape, self.trained.split("{}"))
        return rf"(?P<owner>(?:.+\.)?){before}(?P<name>\w+){after}"


GIVEN = "parametrizations.{}."
TOOLS = (
    Parts("weight norm", "{}_v", ("{}_g",), (), _weight_norm, _is_norm),
    Parts("weight norm", f"{GIVEN}original1", (f"{GIVEN}original0",), (), _weight_norm, _is_norm),
    Parts("spectral norm", "{}_orig", (), ("{}_u", "{}_v"), _spectral_norm, _is_spectrum, "{}_v"),
    Parts("spectral norm", f"{GIVEN}original", (), (f"{GIVEN}0._u", f"{GIVEN}0._v"), _spectral_norm, _is_spectrum),
    Parts("pruning mask", "{}_orig", (), ("{}_mask",), torch.mul, _is_mask),
)


def put_together(tensors: Tensors) -> tuple[dict[str, Tensor], frozenset[str], str]:
    """The tensors with whole weights in place of their parts, the keys of these weights, and a note for the user.

    A weight has the place of its trained part. Further parameters (the `g` of weight norm) stay, so that the number of
    parameters is that of the model; parts that are buffers go.

    Args:
        tensors: by state-dict key.
    """
    whole: dict[str, Tensor] = {}
    gone, made = set[str](), set[str]()
    found: list[Parts] = []
    shared: dict[tuple[int, ...], Tensor] = {}
    for key, tensor in tensors.items():
        place = _place(tensors, key)
        if place is None:
            whole[key] = tensor
            continue
        others = [tensors[name] for name in place.others]
        addresses = tuple(part.data_ptr() for part in (tensor, *others))
        whole[place.target] = shared.setdefault(addresses, _computed(place.tool.formula, tensor, others))
        gone.update(place.gone)
        made.add(place.target)
        found.append(place.tool)
    counts = Counter(tool.name for tool in found)
    note = "".join(f", {n} weights put together ({name})" for name, n in counts.items())
    return {key: tensor for key, tensor in whole.items() if key not in gone}, frozenset(made), note


@dataclass(frozen=True)
class _Place:
    """A weight in parts: its tool, its key as a whole, the keys of its other parts, and those of them that go."""

    tool: Parts
    target: str
    others: tuple[str, ...]
    gone: tuple[str, ...]


def _place(tensors: Tensors, key: str) -> _Place | None:
    """The weight whose trained part has this key; None if there is none."""
    for tool in TOOLS:
        found = re.fullmatch(tool.pattern, key)
        if found is None:
            continue
        owner, name = found["owner"], found["name"]
        target = f"{owner}{name}"
        kept, buffers = ([f"{owner}{end.format(name)}" for end in ends] for ends in (tool.kept, tool.buffers))
        buffers = [other for other in buffers if other in tensors or other != f"{owner}{tool.optional.format(name)}"]
        others = (*kept, *buffers)
        if target in tensors or any(other not in tensors for other in others):
            continue
        parts = [tensors[other] for other in others]
        if all(part.is_floating_point() for part in (tensors[key], *parts)) and tool.fits(tensors[key], parts):
            return _Place(tool, target, others, tuple(buffers))
    return None


def _computed(formula: Formula, trained: Tensor, others: Sequence[Tensor]) -> Tensor:
    """The weight, computed in float64, in the dtype of its trained part."""
    return formula(trained.double(), *(other.double() for other in others)).to(trained.dtype)
