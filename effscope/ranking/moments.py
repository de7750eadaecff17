"""First and second moments of channel vectors, in one pass over any number of images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from effscope.errors import EffscopeError
from effscope.ranking.spectrum import Array


class _CompensatedSum:
    """A sum of float64 tensors that also sums the rounding errors: it has twice the digits of float64, so it does not
    depend on the order and number of terms.

    Source: Knuth's two-sum; Ogita, Rump and Oishi, SIAM J. Sci. Comput. 26 (2005).
    """

    def __init__(self, like: Tensor) -> None:
        self.high, self.low = torch.zeros_like(like), torch.zeros_like(like)

    def add(self, term: Tensor) -> None:
        total = self.high + term
        part = total - self.high
        self.low += (self.high - (total - part)) + (term - part)
        self.high = total

    def value(self) -> Tensor:
        return self.high + self.low


class Moments:
    """A forward hook that sums the channel vectors of a convolution's output and their outer products.

    It works in float64 and subtracts the mean of the first batch, so a large mean does not cancel digits. It stores
    (C, C) numbers, for any number of images.
    """

    def __init__(self, name: str) -> None:
        self.name, self.n = name, 0
        self.shift = torch.zeros(0)

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        vectors = out.detach().double().transpose(0, 1).flatten(1)  # (C, B*H*W)
        if not self.n:
            self.shift = vectors.mean(1, keepdim=True)
            self.total, self.outer = _CompensatedSum(self.shift), _CompensatedSum(self.shift @ self.shift.T)
        vectors = vectors - self.shift
        self.total.add(vectors.sum(1, keepdim=True))
        self.outer.add(vectors @ vectors.T)
        self.n += vectors.shape[1]

    def second(self, *, centred: bool) -> Array:
        """(C, C): the covariance over all images and positions, or the mean outer product (not centred).

        Raises:
            EffscopeError: there was no image.
        """
        if not self.n:
            raise EffscopeError(f"{self.name}: no image was given, so its outputs have no rank")
        mean, second = self.total.value() / self.n, self.outer.value() / self.n
        found = second - mean @ mean.T
        if not centred:
            whole = mean + self.shift
            found = found + whole @ whole.T
        return np.asarray(found.cpu().numpy())
