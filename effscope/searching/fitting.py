"""Fit a replaced part of a candidate: block-wise distillation from the base, without labels."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

import torch
from torch import Tensor

from effscope.detect.bank import Bank, limited_bank
from effscope.errors import EffscopeError
from effscope.nn.build import Network, raw
from effscope.nn.inherit import Transfer
from effscope.nn.precision import pick_device
from effscope.progress import Progress
from effscope.searching.context import Context
from effscope.training.batches import plain_batch
from effscope.transplant.distil import distil
from effscope.transplant.record import record


def fit_stage(network: Network, base: Network, position: int, context: Context, seed: int, progress: Progress) -> float:
    """Fit one layer, with all its parameters, to the layer at the same position in the base. In place.

    Returns:
        The normalised error at the end.
    """
    whole = {name for name, _ in network.model[str(position)].named_parameters()}
    return _fit(network, base, position, whole, context, seed, progress)


def fit_head(network: Network, transfer: Transfer, context: Context, seed: int, progress: Progress) -> float:
    """Fit the randomly initialised tensors of the head to the head of the given model. In place.

    Returns:
        The normalised error at the end.
    """
    position = next(n for n, layer in enumerate(context.layout.layers) if layer.block == "Detect")
    prefix = f"model.{position}."
    fresh = (*transfer.fresh, *transfer.reshaped)
    towers = {key.removeprefix(prefix) for key in fresh if key.startswith(prefix)}
    return _fit(network, context.given.network(), position, towers, context, seed, progress)


def _fit(
    network: Network, base: Network, position: int, learns: set[str], context: Context, seed: int, progress: Progress
) -> float:
    config, device = context.config.distil, pick_device(context.device)
    student, teacher = raw(network).to(device), raw(base).to(device)
    images = _images(limited_bank(context.banks.train, config.images), config.batch, device)
    pairs = record(teacher, position, images, config.max_bytes)
    error = distil(student.model[str(position)], pairs, learns, config, seed, progress)
    if not isfinite(error):
        raise EffscopeError(f"layer {position} is not finite after fitting: give smaller learning rates in `distil`")
    return error


def _images(bank: Bank, size: int, device: torch.device) -> Iterator[Tensor]:
    """Batches (size, 3, imgsz, imgsz), float 0-1, in the bank's order."""
    n = len(bank.images)
    for start in range(0, n, size):
        yield plain_batch(bank, range(start, min(start + size, n))).pixels(device)
