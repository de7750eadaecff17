"""What the tensors of a module are: a convolution, a linear layer, a batch norm, or single tensors.

A file with a module tree tells the class and the groups. A file of tensors tells them by names and shapes; what it does
not tell is a reason to give no rank.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from effscope.checkpoint.layer_calls import COMPUTED
from effscope.checkpoint.pickled.module_tree import ModuleRecord

Roles = Mapping[str, Tensor]
"""Tensors of a module by their names in it."""

MATRIX, CONV_DIMS = 2, (3, 4, 5)
CONVS = ("conv", "transposed")
RGB = 3
NORM_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
TORCH = ("torch.nn.", "torch.ao.nn.")
CLASSES = {
    **{f"Conv{n}d": "conv" for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": "transposed" for n in (1, 2, 3)},
    **dict.fromkeys(("Linear", "NonDynamicallyQuantizableLinear"), "linear"),
}
"""Class of torch -> kind of layer. Its other classes own no weight that is ranked."""

UNKNOWN_GROUPS = "groups unknown: each filter reads {} channels, and the file tells no layer that makes so many"
UNKNOWN_KIND = "kind unknown: it may be a transposed convolution, the file does not tell"
WRONG_GROUPS = "wrong groups: the file tells {}, which do not divide its channels"
FURTHER = "further tensors ({}): how they change the weight is unknown"
MADE = "computed weight: the model makes it from its tensors as it runs"
TRANSPOSED_NAMES = r"deconv|convt|transp|(^|[._\d])up(\W|_|\d|conv|sampl|$)"
MAX_DIGITS = 6
HARMLESS = frozenset({"weight", "bias", "weight_g"})
"""Tensors of a layer that leave its weight as it is; `weight_g` is already in it."""


@dataclass(frozen=True)
class Kind:
    """Kind of a layer.

    Attributes:
        name: "norm", "conv", "transposed", "linear", or "single" for tensors of anything else.
        groups: groups of a convolution.
        no_rank: why its weight has no rank, or "".
    """

    name: str
    groups: int = 1
    no_rank: str = ""


def kinds(
    groups: Mapping[str, Roles], modules: Sequence[ModuleRecord], buffers: frozenset[str], *, is_sorted: bool
) -> dict[str, Kind]:
    """The kind of every module.

    Args:
        groups: module path -> its tensors, in the order of the file.
        modules: the module tree, if the file has one.
        buffers: keys of the tensors that are no parameters.
        is_sorted: whether the keys of the file are sorted, so that their order tells nothing.
    """
    records = {record.path: record for record in modules}
    names = {path: _name(path, roles, records.get(path), buffers) for path, roles in groups.items()}
    by_shape = _GroupsByShape(groups, names, is_sorted=is_sorted)
    found = {}
    for path, roles in groups.items():
        name, record = names[path], records.get(path)
        why = _no_rank(roles, record) if name in (*CONVS, "linear") else ""
        told = record.scalars.get("groups") if record else None
        if name not in CONVS:
            found[path] = Kind(name, no_rank=why)
        elif isinstance(told, int) and not isinstance(told, bool) and told > 0:
            fits = len(roles["weight"]) % told == 0
            found[path] = Kind(name, told if fits else 1, why if fits else WRONG_GROUPS.format(told))
        elif record is None and name == "conv" and _may_be_transposed(path, groups):
            found[path] = Kind(name, 1, why or UNKNOWN_KIND)
        else:
            n, unknown = by_shape.of(path)
            found[path] = Kind(name, n, why or unknown)
    return found


def _name(path: str, roles: Roles, record: ModuleRecord | None, buffers: frozenset[str]) -> str:
    weight, bias = roles.get("weight"), roles.get("bias")
    if _is_norm(roles):
        return "norm"
    if weight is None or f"{path}.weight" in buffers or (bias is not None and bias.dim() != 1):
        return "single"
    if not is_counted(weight, is_weight=True):
        return "single"
    class_name = record.class_name if record else ""
    own = class_name.rpartition(".")[2]
    if own in CLASSES or class_name.startswith(TORCH):
        kind = CLASSES.get(own, "single")
        return kind if weight.dim() in ((MATRIX,) if kind == "linear" else CONV_DIMS) else "single"
    if weight.dim() in CONV_DIMS:
        return "transposed" if _is_transposed(roles) else "conv"
    return "linear" if weight.dim() == MATRIX and (bias is None or len(bias) == len(weight)) else "single"


def is_counted(tensor: Tensor, *, is_weight: bool = False) -> bool:
    """Whether a tensor counts as a parameter: floats, complex numbers, and quantised weights of one byte each. Other
    integers are tables, masks, or several weights packed in a number."""
    return tensor.is_floating_point() or tensor.is_complex() or (tensor.dtype == torch.int8 and is_weight)


def _is_norm(roles: Roles) -> bool:
    """Whether a module has the statistics of a batch norm, and shifts and scales of their width."""
    mean = roles.get("running_mean")
    if mean is None or mean.dim() != 1 or "running_var" not in roles:
        return False
    return all(roles[role].shape == mean.shape for role in ("running_var", "weight", "bias") if role in roles)


def _is_transposed(roles: Roles) -> bool:
    """Whether the bias fits only a transposed convolution."""
    bias = roles.get("bias")
    return bias is not None and len(bias) != len(roles["weight"]) and groups_by_bias(roles) is not None


def _may_be_transposed(path: str, groups: Mapping[str, Roles]) -> bool:
    """Whether a convolution without bias may be a transposed one: by its name and an even kernel, or because the norm
    after it in an `nn.Sequential` has the width of the second side of its weight."""
    weight = groups[path]["weight"]
    if "bias" in groups[path]:
        return False
    parent, dot, number = path.rpartition(".")
    after = groups.get(f"{parent}{dot}{int(number) + 1}", {}) if number.isdigit() and len(number) < MAX_DIGITS else {}
    if _is_norm(after) and weight.shape[0] != weight.shape[1]:
        return len(after["running_mean"]) == weight.shape[1]
    return weight.shape[-1] > 1 and weight.shape[-1] % 2 == 0 and re.search(TRANSPOSED_NAMES, path.lower()) is not None


def groups_by_bias(roles: Roles) -> int | None:
    """Groups of a transposed convolution: its bias has C_out values, the second side of its weight C_out / groups. None
    without a bias, or if the sides do not fit."""
    weight, bias = roles["weight"], roles.get("bias")
    if bias is None or bias.dim() != 1 or not weight.shape[1]:
        return None
    groups, rest = divmod(len(bias), weight.shape[1])
    return groups if groups and not rest and len(weight) % groups == 0 else None


def _no_rank(roles: Roles, record: ModuleRecord | None) -> str:
    if record is not None and record.scalars.get(COMPUTED) is True:
        return MADE
    names = sorted(set(roles) - HARMLESS)
    return FURTHER.format(", ".join(names)) if names else ""


MOST_IN_A_ROW = 1000


class _GroupsByShape:
    """Groups of convolutions, where a file has only shapes."""

    def __init__(self, groups: Mapping[str, Roles], names: Mapping[str, str], *, is_sorted: bool) -> None:
        self._tensors, self._names = groups, names
        self._is_sorted = is_sorted
        self._convs = {path: _c_out(roles) for path, roles in groups.items() if names[path] == "conv"}
        gates = _gates({path: groups[path] for path in self._convs})
        made = (c_out for path, c_out in self._convs.items() if path not in gates)
        self._widths = {RGB, *made, *_vectors(groups)}
        self._suspects: dict[str, set[int]] = defaultdict(set)
        for path in self._convs:
            if self._per_group(path) not in (self._widths if not self._before(path) else {self._before(path)}):
                self._suspects[_leaf(path)].update(self._possible(path))

    def of(self, path: str) -> tuple[int, str]:
        """Groups of a convolution, and why it has no rank, if they are unknown."""
        unknown = UNKNOWN_GROUPS.format(self._per_group(path))
        is_first = path == next(iter(self._convs), None) and (not self._is_sorted or path[:1].isdigit())
        if self._names[path] == "transposed":
            return groups_by_bias(self._tensors[path]) or 1, ""
        if is_first or self._convs[path] == 1:
            return RGB if self._per_group(path) == 1 and self._convs[path] == RGB else 1, ""
        if self._per_group(path) == 1:
            n = self._depthwise(path)
            return (n, "") if n else (1, unknown)
        return 1, unknown if self._suspects[_leaf(path)] & self._possible(path) else ""

    def _per_group(self, path: str) -> int:
        return self._tensors[path]["weight"].shape[1]

    def _possible(self, path: str) -> set[int]:
        """Groups with which the convolution would read a width that some layer makes."""
        c_out, per_group, *k = self._tensors[path]["weight"].shape
        before = self._before(path)
        widths = {before} if before else self._widths
        if not before and math.prod(k) == 1:  # almost always a full convolution, often of concatenated maps
            return set()
        found = {width // per_group for width in widths if per_group > 1 and width % per_group == 0}
        return {n for n in found if n > 1 and c_out % n == 0}

    def _before(self, path: str) -> int:
        """Output width of the nearest convolution before it in its `nn.Sequential`; 0 if there is none."""
        parent, _, number = path.rpartition(".")
        if not number.isdigit():
            return 0
        paths = (f"{parent}.{n}" if parent else str(n) for n in reversed(range(min(int(number), MOST_IN_A_ROW))))
        return next((self._convs[one] for one in paths if one in self._convs), 0)

    def _depthwise(self, path: str) -> int:
        """Groups of a convolution with one input per filter that is not known to be the first one; 0: unknown.

        It is depthwise if another one makes so many channels, or if none makes a single channel. Where the order is
        not known, it may also be the first one of a net for grey images, if it is the only one with one input.
        """
        c_out = self._convs[path]
        others = {one: width for one, width in self._convs.items() if one != path}
        if self._before(path) == 1:
            return 1
        if c_out in others.values() or c_out == RGB:
            return c_out
        if self._is_sorted:
            return 0 if any(self._per_group(one) == 1 for one in others) else 1
        return 0 if 1 in others.values() else c_out


def _gates(convs: Mapping[str, Roles]) -> set[str]:
    """Convolutions of squeeze and excitation: two 1x1 ones with bias beside each other, back to the width they read."""
    by_parent: dict[str, list[tuple[str, Tensor]]] = defaultdict(list)
    for path, roles in convs.items():
        if "bias" in roles and math.prod(roles["weight"].shape[2:]) == 1:
            by_parent[path.rpartition(".")[0]].append((path, roles["weight"]))
    return {
        path
        for inside in by_parent.values()
        for path, weight in inside
        for _, other in inside
        if weight.shape[:2] == other.shape[:2][::-1] and weight.shape[0] != weight.shape[1]
    }


def _vectors(groups: Mapping[str, Roles]) -> Iterator[int]:
    """Widths of norms: they have the width of the maps that they belong to."""
    for roles in groups.values():
        if all(tensor.dim() <= 1 for tensor in roles.values()):
            yield from (len(tensor) for tensor in roles.values() if tensor.dim() == 1)


def _c_out(roles: Roles) -> int:
    return roles["weight"].shape[0]


def _leaf(path: str) -> str:
    """The end of a path from its last name on, with the numbers after it: `conv2`, `b.0`."""
    found = re.search(r"[^.]*(\.\d+)*$", re.sub(r"^(\d+\.)*\d+$", "", path))
    return found.group() if found else ""
