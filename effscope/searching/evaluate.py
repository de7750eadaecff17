"""Answers of a search by training on this machine: the base, and a candidate with one more stage swapped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from effscope.checkpoint.read import read_checkpoint
from effscope.checkpoint.write import write_safetensors
from effscope.config import EvalConfig, RankConfig, SearchConfig, TrainConfig
from effscope.costing.model import cost
from effscope.detect.bank import Banks, limited_bank
from effscope.detect.evaluate import evaluate
from effscope.errors import EffscopeError, NegativeAnswer
from effscope.layouts.expand import expand, stages
from effscope.layouts.moves import NOT_YET, move, swap_stage
from effscope.models.file_metadata import metadata
from effscope.models.opened import Model
from effscope.nn.build import Network, build, raw
from effscope.nn.fuse import deploy
from effscope.nn.inherit import Transfer, inherit
from effscope.nn.precision import pick_device
from effscope.progress import Parts, Say, duration, unsaid
from effscope.ranking.analyze import rank
from effscope.recipes import Recipe
from effscope.results import RankResult
from effscope.searching.greedy import Question
from effscope.searching.journal import Event
from effscope.spec.layout import Layout
from effscope.training.batches import plain_batch
from effscope.training.processes import processes
from effscope.training.speed import training_images_per_s
from effscope.training.train import train
from effscope.transplant.distil import distil
from effscope.transplant.record import Pairs, record

State = dict[str, Tensor]

CLASS_TOWER = ".cv3."
"""Part of the state-dict keys of a head's class towers; they start anew for other classes."""

WORK = "work"
"""Folder of a run for what is trained on the way."""

TUNE_SHARE = 0.5
"""Share of `base_epochs` a base is trained for when it starts from weights of other classes."""

DISTIL_WEIGHT, EVAL_WEIGHT = 0.15, 0.8
"""Time of one distillation image, and of one evaluated image, in units of one training image."""


def base_layout(config: SearchConfig, given: Model, classes: tuple[str, ...]) -> Layout:
    """The layout a search starts from: the given one for the data's classes, with the head the config asks for."""
    layout = replace(given.layout, nc=len(classes))
    return move(layout, "light-head") if config.head == "light" else layout


class LocalEvaluator:
    """Trains here, one thing after the other. What is finished is kept in `folder/work` and never done twice.

    Args:
        config: the search.
        given: the base as opened, with or without weights.
        data: both splits, decoded.
        folder: of the run.
        parts: progress; its total is `weight()`.
        say: told what the user must know when it happens.
    """

    def __init__(self, config: SearchConfig, given: Model, data: Banks, folder: Path, parts: Parts, say: Say = unsaid):
        self.config, self.given, self.data, self.parts, self.say = config, given, data, parts, say
        self.work = folder / WORK
        self.layout = base_layout(config, given, data.train.dataset.classes)
        if not self.swappable():
            raise EffscopeError(f"{given.name} has no stage left to swap: a CIB can replace {', '.join(NOT_YET)}")
        self.notes: list[str] = []
        scratch = given.state is None
        self.base_epochs = config.base_epochs if scratch else max(round(TUNE_SHARE * config.base_epochs), 1)

    # -- what the search asks ------------------------------------------------------------------------------------

    def base(self) -> Event:
        """Train or load the base, rank it, give it the short training its candidates get.

        Raises:
            NegativeAnswer: its AP is below `learned_ap`: it judges nothing.
        """
        network = self._load("base")
        if network is None:
            network = self._prepared_base()
            self._store("base", self.layout, network)
        trained = self._ap(network, "base: scoring")
        if trained < self.config.learned_ap:
            raise NegativeAnswer(
                f"the base has not learned: AP {trained:.3f} on {self.data.val.dataset.source}, at least "
                f"{self.config.learned_ap:.2f} is needed to judge a swap; train it longer (--base-epochs)"
            )
        ranks = self.ranks(network)
        after = self._short_training("base_after", self.layout, network, "base: short training")
        ap = self._ap(after, "base: scoring")
        costs = cost(self.layout, self.config.imgsz)
        order = [stage for stage in ranks.order if stage in self.swappable()]
        return {
            "event": "base", "ap_start": trained, "ap_runs": [ap], "params": costs.params_one_head,
            "flops": costs.flops, "order": order, "notes": self._new_notes(),
        }  # fmt: skip

    def trial(self, question: Question) -> Event:
        """AP of the base with the accepted stages and one more swapped, at once and after the short training."""
        layout = self.candidate(question)
        name = f"stage {question.stage}"
        network = self._swapped(layout, (*question.accepted, question.stage), name)
        start = self._ap(network, f"{name}: AP at once")
        after = self._short_training(f"candidate_{question.stage}", layout, network, f"{name}: short training")
        ap = self._ap(after, f"{name}: scoring")
        costs = cost(layout, self.config.imgsz)
        return {
            "event": "trial", "stage": question.stage, "ap_start": start, "ap_runs": [ap],
            "params": costs.params_one_head, "flops": costs.flops, "notes": self._new_notes(),
        }  # fmt: skip

    def _new_notes(self) -> list[str]:
        new, self.notes = self.notes, []
        return new

    def swappable(self) -> set[int]:
        """Numbers of the stages a move can still change."""
        return {stage.number for stage in stages(self.layout) if stage.block in NOT_YET}

    def candidate(self, question: Question) -> Layout:
        """The base with the accepted stages and the asked one swapped."""
        layout = self.layout
        for stage in (*question.accepted, question.stage):
            layout = swap_stage(layout, stage, self.config.move)
        return layout

    def ranks(self, network: Network | None = None) -> RankResult:
        """Ranks of the trained base's stages."""
        network = network or self._load("base")
        assert network is not None
        config = RankConfig(at=self.config.at, threshold=self.config.threshold)
        return rank(network, self.layout, config, source=f"base trained for {self.data.train.dataset.source}")

    def finished(self, name: str, layout: Layout) -> Network:
        """A network this run has trained: `base_after`, or `candidate_K`."""
        network = self._load(name, layout)
        assert network is not None
        return network

    # -- how long ------------------------------------------------------------------------------------------------

    def weight(self) -> float:
        """The whole search with every stage tried, in training images."""
        n_stages = len(self.swappable())
        base = self._training_weight(self.base_epochs) + self._trial_weight()
        return base + n_stages * (self._trial_weight() + self._distil_weight())

    def plan(self) -> str:
        """What will be done and how long it takes at most, measured on this machine."""
        c, n = self.config, len(self.swappable())
        speed = training_images_per_s(build(expand(self.layout)), c.imgsz, c.batch, processes(c.device))
        return (
            f"plan: base ({self.given.name}, {self.base_epochs} epochs unless its weights fit), up to {n} candidates, "
            f"each fitted without labels and trained {c.epochs} epochs, on {len(self.data.train.images)} images at "
            f"{c.imgsz} px, batch {c.batch}, seed {c.seed}: at most {n + 2} trainings, "
            f"{duration(self.weight() / speed)} here; into {self.work.parent}"
        )

    def _training_weight(self, epochs: int) -> float:
        return float(epochs * len(self.data.train.dataset.samples))

    def _distil_weight(self) -> float:
        return DISTIL_WEIGHT * self.config.distil.steps * self.config.distil.batch

    def _trial_weight(self) -> float:
        return self._training_weight(self.config.epochs) + 2 * EVAL_WEIGHT * len(self.data.val.dataset.samples)

    # -- how it is done ------------------------------------------------------------------------------------------

    def _prepared_base(self) -> Network:
        network = build(expand(self.layout), self.config.seed)
        needs_training = True
        if self.given.state is not None:
            same = (
                self.given.classes in (None, self.data.train.dataset.classes) and self.given.layout.nc == self.layout.nc
            )
            needs_training = not same
            kept = {key: t for key, t in self.given.state.items() if same or CLASS_TOWER not in key}
            transfer = inherit(network, self.layout, self.given.layout, kept)
            self.notes.append(f"start: {self.given.source}; {transfer.summary()}")
            if same and (transfer.fresh or transfer.reshaped):
                self._fit_head(network, transfer)
            if not same:
                self.notes.append(
                    f"the weights know {self.given.layout.nc} other classes: the class tower starts anew and the "
                    f"base is trained for {self.base_epochs} epochs"
                )
        if needs_training:
            epochs = self.base_epochs
            network = self._trained("base", network, epochs, self.config.recipe, "base: training")
        return network

    def _fit_head(self, network: Network, transfer: Transfer) -> None:
        head = next(layer.id for layer in self.layout.layers if layer.block == "Detect")
        teacher = raw(self.given.network())
        position = self.layout.index(head)
        prefix = f"model.{position}."
        new = (*transfer.fresh, *transfer.reshaped)
        towers = {key.removeprefix(prefix) for key in new if key.startswith(prefix)}
        error = self._fit(raw(network), teacher, position, towers, "base: fitting the head")
        before = self._ap(self.given.network(), "base: scoring it as given")
        self.notes.append(
            f"the base is the given model (AP {before:.3f}, {cost(self.given.layout).params:,} parameters) with the "
            f"light class head, fitted to its own with normalised error {error:.3f}; all figures compare with that base"
        )

    def _swapped(self, layout: Layout, swapped: tuple[int, ...], title: str) -> Network:
        """The candidate before labelled training: the base's tensors, each swapped stage fitted to what it replaces.

        A swapped stage starts from the base's opening and closing convs and learns as a whole.
        """
        base = self.finished("base", self.layout)
        network = build(expand(layout), self.config.seed)
        inherit(network, layout, self.layout, base.state_dict())
        index = {stage.number: stage.index for stage in stages(layout)}
        for stage in swapped:
            position = index[stage]
            layer = network.model[str(position)]
            file = self.work / f"stage_{stage}.safetensors"
            if file.exists():
                layer.load_state_dict(read_checkpoint(file).state)
                continue
            teacher, student = raw(base), raw(network)
            whole = {name for name, _ in layer.named_parameters()}
            self._fit(student, teacher, position, whole, f"{title}: fitting")
            write_safetensors(file, layer.state_dict(), {})
        return network

    def _fit(self, student: Network, teacher: Network, position: int, trained: set[str], title: str) -> float:
        progress = self.parts.part(self._distil_weight(), title)
        device = pick_device(self.config.device)
        layer = student.to(device).model[str(position)]
        pairs = self._pairs(teacher.to(device), position)
        return distil(layer, pairs, trained, self.config.distil, self.config.seed, progress)

    def _pairs(self, teacher: Network, position: int) -> Pairs:
        bank, size = limited_bank(self.data.train, self.config.distil.images), self.config.distil.batch
        n, device = len(bank.images), next(teacher.parameters()).device
        picks = [range(start, min(start + size, n)) for start in range(0, n, size)]
        batches = (plain_batch(bank, pick).pixels(device) for pick in picks)
        return record(teacher, position, batches, self.config.distil.max_bytes)

    def _short_training(self, name: str, layout: Layout, network: Network, title: str) -> Network:
        done = self._load(name, layout)
        if done is not None:
            self.parts.part(self._training_weight(self.config.epochs), title)
            return done
        after = self._trained(name, network, self.config.epochs, self.config.proxy_recipe, title)
        self._store(name, layout, after)
        return after

    def _trained(self, name: str, network: Network, epochs: int, recipe: Recipe, title: str) -> Network:
        c = self.config
        config = TrainConfig(
            data=c.data, imgsz=c.imgsz, epochs=epochs, batch=c.batch, seed=c.seed, device=c.device, recipe=recipe
        )
        state_file = self.work / f"{name}.training"
        progress = self.parts.part(self._training_weight(epochs), title)
        self.work.mkdir(parents=True, exist_ok=True)
        trained = train(network, self.data.train, config, progress=progress, say=self.say, state_file=state_file)
        self.notes += trained.notes
        network.load_state_dict(trained.state)
        return network

    def _ap(self, network: Network, title: str) -> float:
        config = EvalConfig(imgsz=self.config.imgsz, batch=self.config.batch, device=self.config.device)
        progress = self.parts.part(EVAL_WEIGHT * len(self.data.val.dataset.samples), title)
        return evaluate(deploy(network), self.data.val, config, progress).ap

    def _store(self, name: str, layout: Layout, network: Network) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        facts = metadata(layout, self.data.train.dataset.classes, self.config.imgsz)
        write_safetensors(self.work / f"{name}.safetensors", network.state_dict(), facts)
        (self.work / f"{name}.training").unlink(missing_ok=True)

    def _load(self, name: str, layout: Layout | None = None) -> Network | None:
        file = self.work / f"{name}.safetensors"
        if not file.exists():
            return None
        network = build(expand(layout or self.layout))
        network.load_state_dict(read_checkpoint(file).state)
        return network
