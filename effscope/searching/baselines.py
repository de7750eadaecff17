"""What can be had without changing a layer: smaller images, and int8. Measured beside the chosen model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from effscope.config import IMGSZ_MULTIPLE, EvalConfig
from effscope.detect.bank import bank_inputs, limited_bank, load_bank
from effscope.detect.evaluate import evaluate
from effscope.detect.letterbox import letterboxed
from effscope.detect.predict import CENTRED
from effscope.errors import EffscopeError
from effscope.exporting.int8 import CALIBRATION, GraphDetector, int8_graph
from effscope.exporting.onnx_graph import checked_graph
from effscope.models.open import open_model
from effscope.nn.build import Network
from effscope.nn.fuse import deploy
from effscope.results import Baseline
from effscope.searching.jobs import Measurement
from effscope.searching.work import WEIGHTS, Work
from effscope.timing.in_turn import Timed, graphs_in_turn, in_turn

SHARES = (0.75, 0.5)
"""Shares of the image size that are tried."""

BASE, CHOSEN = "the base", "the chosen model"


@dataclass(frozen=True)
class Form:
    """A network as it would be deployed.

    Attributes:
        name: for tables.
        network: the network.
        imgsz: side of its images in px.
        chosen: whether it is the chosen model.
        graph: its ONNX graph, float32 or int8; None: torch runs it.
    """

    name: str
    network: Network
    imgsz: int
    chosen: bool
    graph: bytes | None = None


def baselines(work: Work) -> Measurement:
    """AP and latency of the base and the chosen model, as they are, at smaller sizes, and in int8.

    In onnxruntime all of them are scored and timed as ONNX graphs; in torch there is no int8.
    """
    forms = _graphs(work, _forms(work))
    timed = _timed(work, forms)
    found = tuple(Baseline(form.name, form.chosen, _ap(work, form), timed.latency[form.name]) for form in forms)
    return Measurement(work.job.id, work.job.kind, baselines=found, runtime=timed.runtime, threads=timed.threads)


def _forms(work: Work) -> list[Form]:
    """The base and the chosen model, then the base at smaller sizes."""
    context, needs = work.context, work.job.needs
    side, models = context.config.imgsz, {}
    for name, job in zip((BASE, CHOSEN), needs, strict=False):
        models[name] = open_model(str(work.workspace.artefact(job, WEIGHTS))).network()
    forms = [Form(name, network, side, name == CHOSEN) for name, network in models.items()]
    return forms + [Form(f"{BASE} at {less} px", models[BASE], less, False) for less in _sides(side)]


def _sides(imgsz: int) -> list[int]:
    """Smaller sides in px that fit the detectors."""
    sides = [max(round(share * imgsz / IMGSZ_MULTIPLE), 1) * IMGSZ_MULTIPLE for share in SHARES]
    return [side for side in dict.fromkeys(sides) if side < imgsz]


def _graphs(work: Work, forms: list[Form]) -> list[Form]:
    """The forms with their graphs, and int8 forms of those at full size; as they are if torch runs them."""
    if work.context.runtime != "onnx":
        return forms
    try:
        made = [replace(form, graph=checked_graph(form.network, (), form.imgsz)[0]) for form in forms]
    except EffscopeError as error:
        work.notes.append(f"without changed layers, measured in torch: {error}")
        return forms
    full = [form for form in made if form.imgsz == work.context.config.imgsz]
    return made + [found for form in full if (found := _int8(work, form)) is not None]


def _int8(work: Work, form: Form) -> Form | None:
    """The int8 form; None, and a note, if there is none."""
    assert form.graph is not None
    try:
        if form.network.spec.info["box_format"] != CENTRED:
            raise EffscopeError("only heads with suppression are measured")
        return replace(form, name=f"{form.name} in int8", graph=int8_graph(form.graph, _squares(work)))
    except EffscopeError as error:
        work.notes.append(f"{form.name} has no int8 form: {error}")
        return None


def _squares(work: Work) -> Iterator[NDArray[np.float32]]:
    """Training images for the ranges of int8, padded to squares: (1, 3, S, S) float32 0-1."""
    bank = limited_bank(work.context.banks.train, CALIBRATION)
    for fit, pixels in bank_inputs(bank, bank.imgsz):
        yield (letterboxed(pixels, fit)[None].float() / 255).numpy()


def _ap(work: Work, form: Form) -> float:
    """AP of a form on the validation images. The graph of a one-to-one head has chosen its detections already, so its
    network is scored instead."""
    context = work.context
    progress = work.parts.part(work.plan.scoring, f"{form.name}: scoring")
    config = EvalConfig(imgsz=form.imgsz, batch=context.config.batch, device=context.device)
    bank = context.banks.val
    if form.imgsz != bank.imgsz:
        bank = load_bank(bank.dataset, form.imgsz)
    if form.graph is None or form.network.spec.info["box_format"] != CENTRED:
        return evaluate(deploy(form.network), bank, config, progress).ap
    detector = GraphDetector(form.graph, form.network, form.imgsz, context.threads)
    return evaluate(cast("Network", detector), bank, config, progress).ap


def _timed(work: Work, forms: list[Form]) -> Timed:
    """Latency of all forms, in turn; in torch size by size."""
    context = work.context
    graphs = {form.name: (form.graph, form.imgsz) for form in forms if form.graph is not None}
    if graphs:
        return graphs_in_turn(graphs, context.threads)
    by_size = [
        in_turn(
            {form.name: form.network for form in forms if form.imgsz == side}, side, context.device, "torch",
            context.threads, work.say,
        )
        for side in dict.fromkeys(form.imgsz for form in forms)
    ]  # fmt: skip
    latency = {name: one for found in by_size for name, one in found.latency.items()}
    return Timed(latency, by_size[0].runtime, by_size[0].threads)
