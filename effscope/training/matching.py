"""How much the two assignments of a dual head differ during training.

Source: YOLOv10 (arXiv 2405.14458, section 3.1 and appendix A.2). Both heads learn a box with soft targets t: the
one-to-one head at one point i, the one-to-many head at the points Omega.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from effscope.training.assign import Assignment

TOPS = (1, 5, 10)
"""Values of k for the share of one-to-one points among the k best one-to-many points of their box."""


@dataclass(frozen=True)
class Matching:
    """Sums over one-to-one points. Matchings of several batches can be added.

    A ground-truth box has one such point, rarely none or two: if several boxes took a point, it goes to the box with
    the greatest overlap.

    Attributes:
        points: number of one-to-one points.
        gap: sum of the supervision gaps, see `matching`.
        within: for each k of `TOPS`, the number of points that are among the k best one-to-many points of their box.
    """

    points: int = 0
    gap: float = 0.0
    within: tuple[int, ...] = (0,) * len(TOPS)

    def __add__(self, other: Matching) -> Matching:
        within = (a + b for a, b in zip(self.within, other.within, strict=True))
        return Matching(self.points + other.points, self.gap + other.gap, tuple(within))

    def over(self, summed: Callable[[Tensor], Tensor]) -> Matching:
        """The sum over processes; each of them counted its share of the batch."""
        counts = torch.tensor([self.points, self.gap, *self.within], dtype=torch.float64)
        points, gap, *within = summed(counts).tolist()
        return Matching(round(points), gap, tuple(map(round, within)))

    def means(self) -> dict[str, float]:
        """`gap`, `top1`, `top5`, `top10`: means over the points, the last three as fractions. Empty without points."""
        if not self.points:
            return {}
        shares = {f"top{k}": n / self.points for k, n in zip(TOPS, self.within, strict=True)}
        return {"gap": self.gap / self.points, **shares}


@torch.no_grad()
def matching(many: Assignment, one: Assignment, n_boxes: int) -> Matching:
    """Compare the two assignments of a batch.

    The gap of a one-to-one point i is the 1-Wasserstein distance A = t_o2o,i - [i in Omega] t_o2m,i + sum over Omega
    without i of t_o2m,k. The best one-to-many points have the greatest targets.

    Args:
        many: assignment of the one-to-many head.
        one: assignment of the one-to-one head.
        n_boxes: number of ground-truth boxes that each image is padded to.
    """
    row_many, row_one = (given.image * n_boxes + given.box for given in (many, one))
    n_rows = int(torch.cat((row_many, row_one)).max()) + 1 if len(row_many) + len(row_one) else 0
    total = torch.zeros(n_rows, device=many.strength.device).index_add(0, row_many, many.strength)
    shared, rank = _place_among(many, row_many, one, row_one)
    gap = one.strength + total[row_one] - 2 * shared
    return Matching(len(row_one), float(gap.sum()), tuple(int((rank < k).sum()) for k in TOPS))


def _place_among(many: Assignment, row_many: Tensor, one: Assignment, row_one: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors (P,), per one-to-one point: the one-to-many target of the same box at this point (0 without one), and
    how many one-to-many points of this box have a greater target."""
    n_points = many.scores.shape[1]
    by_row = torch.argsort(many.strength, descending=True, stable=True)
    by_row = by_row[torch.argsort(row_many[by_row], stable=True)]  # best first, box by box
    rows = row_many[by_row]
    place = torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows)
    key, order = (row_many[by_row] * n_points + many.point[by_row]).sort()
    wanted = row_one * n_points + one.point
    at = torch.searchsorted(key, wanted).clamp(max=max(len(key) - 1, 0))
    if not len(key):
        return torch.zeros_like(one.strength), torch.full_like(wanted, max(TOPS))
    found = key[at] == wanted
    where = by_row[order[at]]
    shared = torch.where(found, many.strength[where], 0.0)
    return shared, torch.where(found, place[order[at]], max(TOPS))
