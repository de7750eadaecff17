"""Which convolution a batch norm follows, where a file has names and shapes only.

In a module whose input and output widths differ, the width of a norm tells whether it stands before or after the
convolution. What such modules show holds for all pairs of the same names, with the same difference of their numbers
(`conv1` and `bn1`, `conv2` and `bn2`). Names of which no module shows anything are paired by their order in the file,
if the file is not sorted and the norm directly follows a convolution with the same number.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

CONV_DIMS = (3, 4, 5)

GROUPED = 4
"""A convolution may be grouped if it has this many times as many outputs as inputs per kernel, or more."""

Names = tuple[str, str, int]
"""Name of a convolution and of a norm in their module, without numbers, and the difference of their numbers."""

NEXT: Names = ("", "", 1)
"""Neighbours in an `nn.Sequential`."""


@dataclass(frozen=True)
class Conv:
    """A convolution: path, and widths of input (None: unknown, if it may be grouped) and output."""

    path: str
    c_in: int | None
    c_out: int


def followed(groups: Mapping[str, Mapping[str, Tensor]], *, is_sorted: bool) -> dict[str, str]:
    """Path of a norm -> path of the convolution that it follows, where names and shapes tell.

    Args:
        groups: module path -> its tensors by name, in the order of the file.
        is_sorted: whether the keys of the file are sorted, so that their order tells nothing.
    """
    convs, norms = defaultdict(list), defaultdict(list)
    for path, roles in groups.items():
        weight = roles.get("weight")
        if {"running_mean", "running_var"} <= roles.keys() and roles["running_mean"].dim() == 1:
            norms[_parent(path)].append((path, len(roles["running_mean"])))
        elif weight is not None and weight.dim() in CONV_DIMS:
            c_out, per_group = weight.shape[:2]
            may_be_grouped = c_out % max(per_group, 1) == 0 and c_out >= GROUPED * per_group
            convs[_parent(path)].append(Conv(path, None if may_be_grouped else per_group, c_out))
    order = [path for path in groups if ".parametrizations." not in path]
    accepted = _accepted(convs, norms, order, is_sorted=is_sorted)
    found: dict[str, str] = {}
    for parent, inside in norms.items():
        found |= _matched(convs[parent], inside, accepted)
    return found


def _accepted(
    convs: Mapping[str, Sequence[Conv]],
    norms: Mapping[str, Sequence[tuple[str, int]]],
    order: Sequence[str],
    *,
    is_sorted: bool,
) -> set[Names]:
    """Names of convolutions and of the norms that follow them."""
    after, before = set[Names](), set[Names]()
    in_order, out_of_order = set[Names](), set[Names]()
    place = {path: n for n, path in enumerate(order)}
    for parent, inside in norms.items():
        for norm, width in inside:
            for conv in convs.get(parent, ()):
                names = _names(conv.path, norm)
                if names is None or width not in (conv.c_in, conv.c_out):
                    continue
                if not is_sorted and place[norm] + 1 == place[conv.path]:
                    before.add(names)
                if conv.c_in is not None and conv.c_in != conv.c_out:
                    (after if width == conv.c_out else before).add(names)
                elif is_sorted or place[norm] != place[conv.path] + 1 or not _alike(names):
                    out_of_order.add(names)
                else:
                    in_order.add(names)
    return (after - before) | (in_order - out_of_order - after - before)


def _matched(convs: Sequence[Conv], norms: Sequence[tuple[str, int]], accepted: set[Names]) -> dict[str, str]:
    """Norm -> convolution in one module, where there is one answer for both."""
    pairs = [
        (norm, conv.path, names)
        for norm, width in norms
        for conv in convs
        if width == conv.c_out and (names := _names(conv.path, norm)) in accepted and names is not None
    ]
    alike = {path for norm, conv, names in pairs if _alike(names) for path in (norm, conv)}
    found = [(norm, conv) for norm, conv, names in pairs if _alike(names) or not alike & {norm, conv}]
    times = Counter(path for pair in found for path in pair)
    return {norm: conv for norm, conv in found if times[norm] == times[conv] == 1}


def _names(conv: str, norm: str) -> Names | None:
    """The names of both in their module; None if they tell nothing."""
    (first, n), (second, m) = _stem(conv), _stem(norm)
    if (not first) != (not second) or (n is None) != (m is None):
        return None
    names = (first, second, 0 if n is None or m is None else m - n)
    return names if first or names == NEXT else None


def _stem(path: str) -> tuple[str, int | None]:
    """The name of a module in its parent without the number at its end, and the number."""
    found = re.fullmatch(r"(.*?)(\d{1,9})?", path.rpartition(".")[2])
    assert found is not None
    return found[1], None if found[2] is None else int(found[2])


def _alike(names: Names) -> bool:
    """Whether the names have the same number, or none, or are neighbours."""
    return names[2] == 0 or names == NEXT


def _parent(path: str) -> str:
    return path.rpartition(".")[0]
