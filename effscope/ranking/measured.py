"""Singular values of convolutions: of their weights, or of their outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from effscope.ranking.collect import Collected
from effscope.ranking.convs import RankedConv
from effscope.ranking.spectrum import Array, Kernel, MapShape, root_values
from effscope.ranking.thresholds import Cut, cut, spectra_for
from effscope.thresholds import Threshold

COVARIANCE_EPS = float(np.finfo(np.float32).eps)
"""Relative error of the square roots of the eigenvalues of a float64 covariance: that of float32."""


@dataclass(frozen=True)
class Measured:
    """Singular values of a convolution.

    Attributes:
        conv: the convolution.
        kernel: its weight.
        shape: shape of the matrix: that of the kernel, or (C_out, C_out) for outputs.
        values: singular values, descending.
        eps: relative error of the stored values.
        positions: number of positions with recorded outputs; None for weights.
    """

    conv: RankedConv
    kernel: Kernel
    shape: MapShape
    values: Array
    eps: float
    positions: int | None = None

    @property
    def c_out(self) -> int:
        """Output channels."""
        return len(self.kernel.weight)

    def cut(self, threshold: Threshold) -> Cut:
        """The count of values above a threshold."""
        return cut(threshold, self.values, self.shape, self.eps)

    def ratio(self, threshold: Threshold) -> float:
        """Rank / output channels."""
        return self.cut(threshold).rank / self.c_out


def measured_weights(
    convs: Sequence[RankedConv], kernels: Mapping[str, Kernel], thresholds: Sequence[Threshold]
) -> list[Measured]:
    """Singular values of weights, exact enough for every threshold."""
    chosen = [kernels[conv.node.name] for conv in convs]
    values = spectra_for(chosen, thresholds)
    return [Measured(c, k, k.shape, v, k.eps) for c, k, v in zip(convs, chosen, values, strict=True)]


def measured_outputs(convs: Sequence[RankedConv], collected: Collected, *, centred: bool) -> list[Measured]:
    """Singular values of outputs: square roots of the eigenvalues of their covariance, or of their mean outer product
    (not centred)."""
    assert collected.moments is not None
    found = []
    for conv in convs:
        kernel, moments = collected.kernels[conv.node.name], collected.moments[conv.node.name]
        c_out = len(kernel.weight)
        values = root_values(moments.second(centred=centred), kernel.name)
        eps = max(kernel.eps, COVARIANCE_EPS)
        found.append(Measured(conv, kernel, MapShape(c_out, c_out), values, eps, moments.n))
    return found
