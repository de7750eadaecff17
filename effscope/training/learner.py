"""Training of one network, batch by batch: forward pass, loss, gradients, optimiser step, moving average."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

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
from effscope.training.processes import Processes, sync_batch_norms
from effscope.training.state_file import SavedState
from effscope.training.teaching import Teacher, levels_of, observed, teaching_loss


@dataclass
class Learner:
    """The state that a training step changes.

    Attributes:
        network: the trained network; on its device, channels last, in training mode.
        raw: a view with the same weights that computes only the inputs of the losses.
        optimizer, average: optimiser and moving average of the network's weights.
        group: the processes that share each batch.
        recipe: gains, matching, gradient clipping.
        teacher: a detector whose answers are learned too; None: labels only.
        parts: number of parts per batch; more than one after memory ran out.
        pending: batches since the last optimiser step; their gradients are accumulated.
        matched: sums over the current epoch, for a dual head.
        settled: `matched` without the pending batches.
        notes: notes for the user, one line each.
    """

    network: Network
    raw: Network
    optimizer: torch.optim.Optimizer
    average: MovingAverage
    group: Processes
    recipe: Recipe
    teacher: Teacher | None = None
    parts: int = 1
    pending: list[Batch] = field(default_factory=list)
    matched: Matching = field(default_factory=Matching)
    settled: Matching = field(default_factory=Matching)
    notes: list[str] = field(default_factory=list)

    def learn(self, batch: Batch) -> Tensor:
        """Add the gradients of a batch to the pending ones. Returns box, cls, dfl losses, float32 (3,) on the CPU.

        If memory runs out, the pending batches are repeated in twice as many parts; later batches have as many parts.

        Raises:
            EffscopeError: memory runs out with a single image, or with several processes.
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
        """Update the weights with the pending gradients. If they are not finite, returns False and changes nothing."""
        set_rates(self.optimizer, now)
        self.group.sum_gradients(self.network)
        if not math.isfinite(clip_gradients(self.network.parameters(), self.recipe.grad_clip)):
            return False
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update()
        self.pending.clear()
        self.settled = self.matched
        return True

    def is_finite(self) -> bool:
        """Whether every averaged weight is finite."""
        floats = (value for value in self.average.state.values() if value.is_floating_point())
        return bool(torch.stack([value.isfinite().all() for value in floats]).all())

    def start_epoch(self) -> None:
        """Reset the matches."""
        self.matched = self.settled = Matching()

    def epoch_matches(self) -> dict[str, float]:
        """`Matching.means` of this epoch over all processes; empty without a dual head."""
        return self.matched.over(self.group.summed).means()

    def snapshot(self) -> SavedState:
        """The state of the learner, for a file."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state,
            "average_steps": self.average.steps,
            "optimizer": self.optimizer.state_dict(),
            "parts": self.parts,
            "notes": self.notes,
        }

    def restore(self, saved: SavedState) -> None:
        """Restore a snapshot, in place."""
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for key, value in saved["average"].items():
            self.average.state[key].copy_(value)
        self.average.steps = saved["average_steps"]
        self.parts, self.notes = saved["parts"], list(saved["notes"])

    def _gradients(self, batch: Batch) -> Tensor:
        terms, n, group = torch.zeros(3), len(batch.indices), self.group
        copies = group.count if n < group.count else 1  # fewer images than processes: each process uses all images
        parts = batch.parts(self.parts)
        summed: Summed = group.summed if copies == 1 else _same
        divisors = self._divisors(parts) if len(parts) > 1 else None
        for part in parts:
            losses = self._losses(part, summed if divisors is None else _given(divisors), len(part.images) / n)
            (losses.total * (n / copies)).backward()  # type: ignore[no-untyped-call]
            terms += summed(torch.stack((losses.box, losses.cls, losses.dfl)).detach()).cpu()
            if len(losses.assigned) == 2 and (copies == 1 or group.rank == 0):  # noqa: PLR2004  (both heads)
                self.matched += matching(*losses.assigned, n_boxes=part.truth.boxes.shape[1])
        return terms

    def _losses(self, part: Batch, summed: Summed, share: float = 0.0) -> Losses:
        """The losses of a part; `share` is its part of the batch's images, 0 without the teacher's answers."""
        device = self.group.device
        pixels = part.pixels(device)
        with amp(device):
            views, maps = observed(self.raw, pixels)
        height, width = pixels.shape[2:]
        losses = detector_loss(views, part.truth.to(device), (height, width), self.recipe, summed)
        if self.teacher is None or not share:
            return losses
        taught = teaching_loss((levels_of(views), maps), self.teacher.answer(pixels))
        return replace(losses, taught=self.recipe.distil_gain * share * taught)

    @torch.no_grad()
    def _divisors(self, parts: list[Batch]) -> list[Tensor]:
        """Per head, the sum of soft targets over all parts: every part divides its loss by it."""
        with _fixed_statistics(self.network):
            assigned = [self._losses(part, _same).assigned for part in parts]
        return [torch.stack([one.strength.sum() for one in head]).sum() for head in zip(*assigned, strict=True)]

    def _halve(self) -> None:
        if self.group.count > 1:
            raise EffscopeError("out of memory: several processes cannot halve their batch, give a smaller `batch`")
        largest = max(len(batch.images) for batch in self.pending)
        if self.parts >= largest:
            raise EffscopeError("out of memory with one image at a time: give a smaller `imgsz` or model")
        self.parts *= 2
        self.optimizer.zero_grad(set_to_none=True)
        if self.group.device.type == "cuda":
            torch.cuda.empty_cache()
        self.notes.append(
            f"out of memory: batches of {largest} are trained in parts of {-(-largest // self.parts)}, "
            "and their gradients are added"
        )


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _given(values: list[Tensor]) -> Summed:
    """A `Summed` that ignores its argument and returns one value after the other."""
    left = iter(values)
    return lambda _: next(left)


@contextmanager
def _fixed_statistics(network: nn.Module) -> Iterator[None]:
    """Batch norms use batch statistics and do not update their running statistics."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with attributes_kept(norms, "momentum", "num_batches_tracked"):
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield


def make_learner(model: Network, config: TrainConfig, group: Processes, teacher: Network | None = None) -> Learner:
    """A learner with a copy of a model's weights."""
    network = copy.deepcopy(model).to(group.device).train()
    sync_batch_norms(network, group)
    network.to(memory_format=torch.channels_last)
    heads = [name for name in (ONE_TO_MANY, ONE_TO_ONE) if name in network.spec.views]
    return Learner(
        network=network,
        raw=view(network, *heads),
        optimizer=make_optimizer(network, config.recipe),
        average=MovingAverage(network, config.recipe),
        group=group,
        recipe=config.recipe,
        teacher=None if teacher is None else Teacher(teacher, group.device),
    )
