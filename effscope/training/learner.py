"""One network that learns, batch by batch: forward, loss, gradients, optimiser step, moving average."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from effscope.config import TrainConfig
from effscope.errors import EffscopeError
from effscope.nn.build import Network, view
from effscope.nn.precision import amp
from effscope.recipes import Recipe
from effscope.training.batches import Batch
from effscope.training.losses import ONE_TO_MANY, ONE_TO_ONE, detector_loss
from effscope.training.matching import Matching, matching
from effscope.training.optimise import MovingAverage, Rates, clip_gradients, make_optimizer, set_rates
from effscope.training.processes import Processes, share_norms
from effscope.training.resume import Saved

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""What torch's allocators say, of GPUs and of the host."""


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
            self._halve(len(batch.images))
            self.optimizer.zero_grad(set_to_none=True)
            todo, self.matched = self.pending, self.settled

    def step(self, now: Rates) -> None:
        """Move the weights along the gradients that wait."""
        set_rates(self.optimizer, now)
        self.everyone.sum_gradients(self.network)
        clip_gradients(self.network.parameters(), self.recipe.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update()
        self.pending.clear()
        self.settled = self.matched

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
        terms = torch.zeros(3)
        height, width = batch.images.shape[2:]
        everyone, n = self.everyone, len(batch.indices)
        copies = everyone.count if n < everyone.count else 1  # too few pictures to share: all learn all of them
        summed = everyone.summed if copies == 1 else _same
        for part in batch.parts(self.parts):
            with amp(everyone.device):
                views = self.raw(part.images)
            losses = detector_loss(views, part.truth, (height, width), self.recipe, summed)
            (losses.total * (len(part.indices) / copies)).backward()  # type: ignore[no-untyped-call]
            stacked = torch.stack((losses.box, losses.cls, losses.dfl)).detach()
            terms += summed(stacked).cpu() * (len(part.indices) / n)
            if len(losses.assigned) == 2:  # noqa: PLR2004  (both heads)
                self.matched += matching(*losses.assigned, n_boxes=part.truth.boxes.shape[1])
        return terms

    def _halve(self, n: int) -> None:
        if self.everyone.count > 1:
            raise EffscopeError("out of memory: several processes cannot halve their batch, give a smaller --batch")
        if self.parts >= n:
            raise EffscopeError("out of memory with one picture at a time: give a smaller --imgsz or model")
        self.parts *= 2
        if self.everyone.device.type == "cuda":
            torch.cuda.empty_cache()
        self.notes.append(
            f"out of memory: batches of {n} are learnt in parts of {-(-n // self.parts)}, their gradients added up"
        )


def _same(tensor: Tensor) -> Tensor:
    return tensor


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _NO_MEMORY)


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
