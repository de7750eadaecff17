"""One network that learns, batch by batch: forward, loss, gradients, optimiser step, moving average."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from effscope.config import TrainConfig
from effscope.errors import EffscopeError, ran_out_of_memory
from effscope.nn.build import Network, view
from effscope.nn.precision import amp
from effscope.nn.preserved import attributes_kept
from effscope.recipes import Recipe
from effscope.training.batches import Batch
from effscope.training.losses import ONE_TO_MANY, ONE_TO_ONE, Losses, Summed, detector_loss
from effscope.training.matching import Matching, matching
from effscope.training.optimise import MovingAverage, Rates, clip_gradients, make_optimizer, set_rates
from effscope.training.processes import Processes, share_norms
from effscope.training.state_file import Saved


@dataclass
class Learner:
    """Everything that a training step moves.

    Attributes:
        network: the weights that learn; on its device, channels last, in training mode.
        raw: shares them, computes only what the losses need.
        parts: a batch is learnt in so many parts; more than one after memory ran out.
        pending: batches whose gradients wait for an optimiser step.
        matched: of the current epoch, for a dual head; `settled` without the batches that wait.
        notes: what the user must know.
    """

    network: Network
    raw: Network
    optimizer: torch.optim.Optimizer
    average: MovingAverage
    everyone: Processes
    recipe: Recipe
    parts: int = 1
    pending: list[Batch] = field(default_factory=list)
    matched: Matching = field(default_factory=Matching)
    settled: Matching = field(default_factory=Matching)
    notes: list[str] = field(default_factory=list)

    def learn(self, batch: Batch) -> Tensor:
        """Add a batch's gradients to those that wait; returns box, cls, dfl losses, float32 (3,) on the CPU.

        When memory runs out, the batches that wait are learnt again in twice as many parts, as all later ones are.

        Raises:
            EffscopeError: memory runs out with a single picture, or with several processes.
        """
        self.pending.append(batch)
        todo = [batch]
        while True:
            try:
                return [self._gradients(waiting) for waiting in todo][-1]
            except (RuntimeError, MemoryError) as error:
                if not ran_out_of_memory(error):
                    raise
            self._halve()
            todo, self.matched = self.pending, self.settled

    def step(self, now: Rates) -> bool:
        """Move the weights along the gradients that wait; false, and nothing moves, where those are not finite."""
        set_rates(self.optimizer, now)
        self.everyone.sum_gradients(self.network)
        if not math.isfinite(clip_gradients(self.network.parameters(), self.recipe.grad_clip)):
            return False
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update()
        self.pending.clear()
        self.settled = self.matched
        return True

    def is_finite(self) -> bool:
        """Whether every averaged weight is a number."""
        floats = (value for value in self.average.state.values() if value.is_floating_point())
        return bool(torch.stack([value.isfinite().all() for value in floats]).all())

    def start_epoch(self) -> None:
        """Count matches anew."""
        self.matched = self.settled = Matching()

    def epoch_matches(self) -> dict[str, float]:
        """How far a dual head's assignments were apart in this epoch, over all processes; empty for another head."""
        return self.matched.over(self.everyone.summed).means()

    def snapshot(self) -> Saved:
        """All of it, for a file."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state,
            "average_steps": self.average.steps,
            "optimizer": self.optimizer.state_dict(),
            "parts": self.parts,
            "notes": self.notes,
        }

    def restore(self, saved: Saved) -> None:
        """Be as a snapshot was."""
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for key, value in saved["average"].items():
            self.average.state[key].copy_(value)
        self.average.steps = saved["average_steps"]
        self.parts, self.notes = saved["parts"], list(saved["notes"])

    def _gradients(self, batch: Batch) -> Tensor:
        terms, n, everyone = torch.zeros(3), len(batch.indices), self.everyone
        copies = everyone.count if n < everyone.count else 1  # too few pictures to share: all learn all of them
        parts = batch.parts(self.parts)
        summed: Summed = everyone.summed if copies == 1 else _same
        divisors = self._divisors(parts) if len(parts) > 1 else None
        for part in parts:
            losses = self._losses(part, summed if divisors is None else _given(divisors))
            (losses.total * (n / copies)).backward()  # type: ignore[no-untyped-call]
            terms += summed(torch.stack((losses.box, losses.cls, losses.dfl)).detach()).cpu()
            if len(losses.assigned) == 2 and (copies == 1 or everyone.rank == 0):  # noqa: PLR2004  (both heads)
                self.matched += matching(*losses.assigned, n_boxes=part.truth.boxes.shape[1])
        return terms

    def _losses(self, part: Batch, summed: Summed) -> Losses:
        device = self.everyone.device
        pixels = part.pixels(device)
        with amp(device):
            views = self.raw(pixels)
        height, width = pixels.shape[2:]
        return detector_loss(views, part.truth.to(device), (height, width), self.recipe, summed)

    @torch.no_grad()
    def _divisors(self, parts: list[Batch]) -> list[Tensor]:
        """For each head the sum of targets over all parts, which divides the loss of every part."""
        with _still_norms(self.network):
            assigned = [self._losses(part, _same).assigned for part in parts]
        return [torch.stack([one.strength.sum() for one in head]).sum() for head in zip(*assigned, strict=True)]

    def _halve(self) -> None:
        if self.everyone.count > 1:
            raise EffscopeError("out of memory: several processes cannot halve their batch, give a smaller --batch")
        largest = max(len(batch.images) for batch in self.pending)
        if self.parts >= largest:
            raise EffscopeError("out of memory with one picture at a time: give a smaller --imgsz or model")
        self.parts *= 2
        self.optimizer.zero_grad(set_to_none=True)
        if self.everyone.device.type == "cuda":
            torch.cuda.empty_cache()
        self.notes.append(
            f"out of memory: batches of {largest} are learnt in parts of {-(-largest // self.parts)}, "
            "their gradients added up"
        )


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _given(values: list[Tensor]) -> Summed:
    """Gives one value after the other, whatever it is asked to sum."""
    left = iter(values)
    return lambda _: next(left)


@contextmanager
def _still_norms(network: nn.Module) -> Iterator[None]:
    """Batch norms go by the batch and leave their running statistics as they are."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with attributes_kept(norms, "momentum", "num_batches_tracked"):
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield


def make_learner(model: Network, config: TrainConfig, everyone: Processes) -> Learner:
    """A learner that starts from a model's weights; the model is left as it was."""
    network = copy.deepcopy(model).to(everyone.device).train()
    share_norms(network, everyone)
    network.to(memory_format=torch.channels_last)
    heads = [name for name in (ONE_TO_MANY, ONE_TO_ONE) if name in network.spec.views]
    return Learner(
        network=network,
        raw=view(network, *heads),
        optimizer=make_optimizer(network, config.recipe),
        average=MovingAverage(network, config.recipe),
        everyone=everyone,
        recipe=config.recipe,
    )
