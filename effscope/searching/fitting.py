"""Give a replaced part its weights without labels: in closed form, then by distillation from the base."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import ceil, isfinite, prod

import torch
from torch import Tensor

from effscope.detect.bank import Bank, limited_bank
from effscope.errors import EffscopeError
from effscope.nn.build import Network, undecoded
from effscope.nn.inherit import Transfer
from effscope.nn.precision import pick_device
from effscope.progress import Progress
from effscope.searching.context import Context
from effscope.spec.layout import Layout
from effscope.training.batches import plain_batch
from effscope.transplant.distil import Distilled, Loss, class_divergence, distil, normalised_error
from effscope.transplant.forms import Start, start
from effscope.transplant.passes import Pair
from effscope.transplant.record import record
from effscope.transplant.sums import POSITIONS

CLOSED_POSITIONS = 1 << 16
"""Positions of maps in a closed form: more hardly lower its error, and small maps need more images for as many."""

BATCH = 8
"""Images in a forward pass without gradients; each is there twice, as it is and mirrored."""


@dataclass(frozen=True)
class Fitted:
    """How a part got its weights: its start, and its errors on held-back images before and after the distillation."""

    start: Start
    errors: Distilled

    @property
    def words(self) -> str:
        """For notes."""
        before, after = self.errors.before, self.errors.after
        return f"{self.start.words}; on held-back images {before:.3f} before and {after:.3f} after distillation"


@dataclass(frozen=True)
class Part:
    """A layer to fit.

    Attributes:
        base, layout: the network that has the old layer, and its layout.
        new: layout of the network that has the new layer.
        position: of the layer in both.
    """

    base: Network
    layout: Layout
    new: Layout
    position: int


def fit_stage(network: Network, part: Part, context: Context, seed: int, progress: Progress) -> Fitted:
    """Fit one layer, with all its parameters, to the layer that it replaces. In place.

    Raises:
        EffscopeError: the weights are not finite.
    """
    learns = {name for name, _ in network.model[str(part.position)].named_parameters()}
    return _fit(network, part, learns, normalised_error, context, seed, progress)


def fit_head(
    network: Network, part: Part, transfer: Transfer, context: Context, seed: int, progress: Progress
) -> Fitted:
    """Fit the class towers of the head to those of the given model; only tensors without inherited values. In place.

    Raises:
        EffscopeError: the weights are not finite.
    """
    prefix = f"model.{part.position}."
    fresh = (*transfer.fresh, *transfer.reshaped)
    learns = {key.removeprefix(prefix) for key in fresh if key.startswith(prefix)}
    loss = class_divergence(4 * network.spec.info["reg_max"])
    return _fit(network, part, learns, loss, context, seed, progress)


def _fit(
    network: Network, part: Part, learns: Collection[str], loss: Loss, context: Context, seed: int, progress: Progress
) -> Fitted:
    config, device, key = context.config.distil, pick_device(context.device), str(part.position)
    student, teacher = undecoded(network).to(device), undecoded(part.base).to(device)
    progress(0.0, "fitting in closed form")
    pairs = record(
        teacher, part.position, mirrored(limited_bank(context.banks.train, config.images), device), config.max_bytes
    )
    smallest = min(prod(tensor.shape[2:]) for tensor in (*pairs.inputs, *pairs.outputs))
    rows = min(len(pairs), ceil(CLOSED_POSITIONS / min(smallest, POSITIONS)))
    batches = [pairs.some(slice(n, min(n + 2 * BATCH, rows))).inputs for n in range(0, rows, 2 * BATCH)]
    pair = Pair(teacher.model[key], student.model[key], [(inputs, inputs) for inputs in batches])
    began = start(pair, part.layout.layers[part.position].block, part.new.layers[part.position].block)
    errors = distil(student.model[key], pairs, learns, config, seed, progress, loss)
    if not isfinite(errors.after):
        raise EffscopeError(f"the weights of layer {key} are not finite: the base's weights or images are damaged")
    return Fitted(began, errors)


def mirrored(bank: Bank, device: torch.device) -> Iterator[Tensor]:
    """Batches (2 * BATCH, 3, imgsz, imgsz), float 0-1: each image, then its mirror image, in the bank's order."""
    n = len(bank.images)
    for first in range(0, n, BATCH):
        pixels = plain_batch(bank, range(first, min(first + BATCH, n))).pixels(device)
        yield torch.stack([pixels, pixels.flip(3)], 1).flatten(0, 1)
