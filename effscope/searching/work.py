"""A running job: its inputs, its outputs, and what several kinds of jobs do: train, score, store a network."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from effscope.checkpoint.read import read_checkpoint
from effscope.checkpoint.write import write_safetensors
from effscope.config import EvalConfig, TrainConfig
from effscope.detect.evaluate import evaluate
from effscope.detect.resampling import Matches, match
from effscope.files import write_bytes
from effscope.models.file_metadata import metadata
from effscope.nn.build import Network
from effscope.nn.fuse import deploy
from effscope.nn.precision import pick_device
from effscope.progress import Parts, Say
from effscope.recipes import Recipe
from effscope.searching.context import Context
from effscope.searching.jobs import Job, Measurement
from effscope.searching.plan import Plan
from effscope.spec.layout import Layout
from effscope.training.norms import recalibrate_on
from effscope.training.running import continued
from effscope.training.train import train
from effscope.workspace import Workspace

WEIGHTS, TRAINING, RANKS, MATCHES = ".safetensors", ".training", ".rank.json", ".matches.npz"
"""Suffixes of artefacts: weights, state of an unfinished training, ranks, matches of detections to boxes."""


@dataclass(frozen=True)
class Score:
    """AP of a network, and the matches of its detections."""

    ap: float
    matches: Matches


@dataclass
class Work:
    """A running job: its inputs, where it writes, and its notes and files so far."""

    job: Job
    context: Context
    workspace: Workspace
    parts: Parts
    plan: Plan
    say: Say
    notes: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def file(self, suffix: str) -> Path:
        """Path of an artefact that this job must write."""
        path = self.workspace.artefact(self.job.id, suffix)
        self.files.append(path)
        return path

    def state_of(self, job: str) -> Mapping[str, Tensor]:
        """The weights that another job wrote."""
        return read_checkpoint(self.workspace.artefact(job, WEIGHTS)).state

    def recalibrate(self, network: Network) -> None:
        """Write the norms in the statistics of the training images, so that a training begins where the weights are."""
        recalibrate_on(network, self.context.banks.train, pick_device(self.context.device))

    def train(
        self, network: Network, epochs: int, recipe: Recipe, title: str, freeze: int = 0, teacher: Network | None = None
    ) -> Network:
        """Train a network, in place, on labels and, with a teacher, on its answers as much as the recipe says.

        The first `freeze` layers keep their weights.
        """
        c = self.context.config
        config = TrainConfig(
            data=c.data, imgsz=c.imgsz, epochs=epochs, batch=c.batch, seed=self.job.seed, device=self.context.device,
            freeze=freeze, recipe=recipe,
        )  # fmt: skip
        progress = self.parts.part(self.plan.training(epochs), title)
        state_file = self.workspace.artefact(self.job.id, TRAINING)
        line = continued(state_file, epochs)
        if line:
            self.say(f"{title}: {line}")
        done = train(
            network, self.context.banks.train, config, teacher=teacher, progress=progress, say=self.say,
            state_file=state_file,
        )  # fmt: skip
        self.notes += done.notes
        network.load_state_dict(done.state)
        return network

    def score(self, network: Network, title: str) -> Score:
        """AP of a network on the validation images."""
        c, bank = self.context.config, self.context.banks.val
        config = EvalConfig(imgsz=c.imgsz, batch=c.batch, device=self.context.device)
        found = evaluate(deploy(network), bank, config, self.parts.part(self.plan.scoring, title))
        return Score(found.ap, match(bank.dataset.samples, found.detections, len(bank.dataset.classes)))

    def measured(self, score: Score) -> Measurement:
        """The measurement of a scored network; its matches become an artefact."""
        data = io.BytesIO()
        np.savez_compressed(data, **vars(score.matches))
        write_bytes(self.file(MATCHES), data.getvalue())
        return Measurement(self.job.id, self.job.kind, ap=score.ap, left_out=score.matches.left_out())

    def store(self, layout: Layout, network: Network) -> None:
        """Write the weights of a network as an artefact."""
        facts = metadata(layout, self.context.classes, self.context.config.imgsz)
        write_safetensors(self.file(WEIGHTS), network.state_dict(), facts)
