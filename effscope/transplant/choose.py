"""Which inputs a linear map needs most: backward elimination of groups of inputs.

Each step drops the group whose loss, after all remaining weights are refitted, is least. Source: optimal brain surgeon
(Hassibi and Stork, NIPS 1992), here for groups of columns of a least-squares problem.
"""

from __future__ import annotations

import torch
from torch import Tensor

from effscope.transplant.sums import Moments


def needed(moments: Moments, pools: list[tuple[Tensor, int]], damping: float) -> list[Tensor]:
    """The groups that the targets need most.

    Args:
        moments: of all inputs and the targets.
        pools: groups to choose from, (groups, inputs of each), and how many of them to keep. No input is in two groups.
        damping: as in `Moments.solve`.

    Returns:
        For each pool the kept groups, as sorted positions in the pool.
    """
    inverse = torch.linalg.inv(moments.damped(damping))
    weights = inverse @ moments.xy
    alive = [list(range(len(groups))) for groups, _ in pools]
    while any(len(kept) > keep for kept, (_, keep) in zip(alive, pools, strict=True)):
        worst = []
        for n, (groups, keep) in enumerate(pools):
            if len(alive[n]) > keep:
                losses = _losses(inverse, weights, groups[torch.tensor(alive[n])])
                worst.append((float(losses.min()), n, alive[n][int(losses.argmin())]))
        _, pool, group = min(worst)
        alive[pool].remove(group)
        inverse, weights = _without(inverse, weights, pools[pool][0][group])
    return [torch.tensor(kept) for kept in alive]


def _losses(inverse: Tensor, weights: Tensor, groups: Tensor) -> Tensor:
    """(groups,): increase of the squared error if a group is dropped and the rest refitted."""
    own = weights[groups]
    losses: Tensor = (own * torch.linalg.solve(inverse[groups[:, :, None], groups[:, None, :]], own)).sum((1, 2))
    return losses


def _without(inverse: Tensor, weights: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse covariance and the weights after a group is dropped; its own rows are zero."""
    column = torch.linalg.solve(inverse[group][:, group], inverse[group]).T
    weights = weights - column @ weights[group]
    inverse = inverse - column @ inverse[group]
    weights[group] = 0
    return inverse, weights
