"""Orders of stages: ties, Kendall's tau between two orders, groups of stages that change their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Ratios = Mapping[int, float]
"""Stage number -> ratio; stages are sorted by it, ascending."""


def ordered(ratios: Ratios) -> tuple[int, ...]:
    """Stage numbers in ascending ratio, equal ratios by number."""
    return tuple(sorted(ratios, key=lambda stage: (ratios[stage], stage)))


def ties(ratios: Ratios) -> tuple[tuple[int, ...], ...]:
    """Groups of two or more stages with equal ratios, in ascending order."""
    groups: dict[float, list[int]] = {}
    for stage in ordered(ratios):
        groups.setdefault(ratios[stage], []).append(stage)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def kendall_tau(a: Ratios, b: Ratios) -> float | None:
    """Kendall's tau-b over the common stages: 1 for the same order, -1 for the reverse, corrected for ties.

    None if all ratios of a or b are equal. Source: Kendall, Biometrika 33 (1945).
    """
    common = sorted(set(a) & set(b))
    signs = [np.sign(np.subtract.outer(v, v)) for v in ([r[stage] for stage in common] for r in (a, b))]
    untied = float(np.sqrt(np.square(signs[0]).sum() * np.square(signs[1]).sum())) if common else 0.0
    return float((signs[0] * signs[1]).sum()) / untied if untied else None


def unsettled(base: Ratios, others: Sequence[Ratios]) -> tuple[tuple[int, ...], ...]:
    """Groups of stages with an order that depends on the definition; each group is in the order of the base.

    Two stages are in one group if another definition reverses their order; groups that share a stage are joined.
    """
    order = ordered(base)
    group = {stage: {stage} for stage in order}
    for n, first in enumerate(order):
        for second in order[n + 1 :]:
            known = [r for r in others if first in r and second in r]
            if any(r[first] > r[second] for r in known) and base[first] < base[second]:
                joined = group[first] | group[second]
                group.update(dict.fromkeys(joined, joined))
    found = {min(members): members for members in group.values() if len(members) > 1}
    return tuple(tuple(stage for stage in order if stage in members) for members in found.values())
