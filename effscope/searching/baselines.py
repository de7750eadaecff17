"""What else can be had: the user's model and the base as they are, smaller images, int8, another model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from effscope.config import IMGSZ_MULTIPLE, EvalConfig
from effscope.detect.bank import load_bank
from effscope.detect.evaluate import Evaluation, evaluate
from effscope.errors import EffscopeError
from effscope.exporting.graph_detector import GraphDetector
from effscope.exporting.int8 import int8_graph, squares
from effscope.exporting.onnx_graph import checked_graph
from effscope.models.open import open_model
from effscope.nn.build import Network
from effscope.nn.fuse import deploy
from effscope.progress import Progress
from effscope.results import Baseline, Latency
from effscope.searching.jobs import Measurement
from effscope.searching.plan import PIECE_WEIGHT
from effscope.searching.work import WEIGHTS, Work
from effscope.timing.in_turn import Timed, graphs_in_turn, in_turn

SHARES = (0.75, 0.5)
"""Shares of the image size that are tried."""

GIVEN, BASE, CHOSEN = "your model", "the base", "the chosen model"


@dataclass(frozen=True)
class Form:
    """A network as it would be deployed.

    Attributes:
        name: for tables.
        network: the network.
        imgsz: side of its images in px.
        graph: its ONNX graph, float32 or int8; None: torch runs it.
        rival: whether it is another model, which the user wants to compare with.
    """

    name: str
    network: Network
    imgsz: int
    graph: bytes | None = None
    rival: bool = False


def baselines(work: Work) -> Measurement:
    """AP and latency of the user's model, the base, the chosen and another model as they are, of the base at smaller
    sizes, and of base and chosen model in int8.

    In onnxruntime all of them are scored and timed as ONNX graphs, and those at full size are timed in torch too; in
    torch there is no int8.
    """
    progress = work.parts.part(PIECE_WEIGHT, "")
    forms = _graphs(work, _forms(work), progress)
    progress(0.5, "measuring latency")
    timed, by_torch = _timed(work, forms), _timed_in_torch(work, forms)
    found, truth = [], work.context.truth
    if truth is not None and truth.note:
        work.notes.append(truth.note)
    for form in forms:
        scored = _scored(work, form)
        true_ap = None if truth is None else truth.ap(scored.detections)
        found.append(
            Baseline(
                form.name, form.name.startswith(CHOSEN), scored.ap, timed.latency[form.name], by_torch.get(form.name),
                true_ap, form.rival,
            )
        )  # fmt: skip
    return Measurement(work.job.id, work.job.kind, baselines=tuple(found), runtime=timed.runtime, threads=timed.threads)


def _forms(work: Work) -> list[Form]:
    """The models as they are, then the base at smaller sizes."""
    context, needs = work.context, work.job.needs
    side, models = context.config.imgsz, {}
    if context.fits:
        models[GIVEN] = context.given.network()
    for name, job in zip((BASE, CHOSEN), needs, strict=False):
        models[name] = open_model(str(work.workspace.artefact(job, WEIGHTS))).network()
    forms = [Form(name, network, side) for name, network in models.items()]
    if context.rival is not None:
        forms.append(Form(context.rival.name, context.rival.network(), side, rival=True))
    return forms + [Form(f"{BASE} at {less} px", models[BASE], less) for less in _sides(side)]


def _sides(imgsz: int) -> list[int]:
    """Smaller sides in px that fit the detectors."""
    sides = [max(round(share * imgsz / IMGSZ_MULTIPLE), 1) * IMGSZ_MULTIPLE for share in SHARES]
    return [side for side in dict.fromkeys(sides) if side < imgsz]


def _graphs(work: Work, forms: list[Form], progress: Progress) -> list[Form]:
    """The forms with their graphs, and int8 forms of base and chosen model; as they are if torch runs them."""
    context, made = work.context, []
    if context.runtime != "onnx":
        return forms
    for n, form in enumerate(forms):
        progress(n / len(forms) / 2, f"{form.name}: exporting")
        try:
            made.append(replace(form, graph=checked_graph(form.network, context.classes, form.imgsz)[0]))
        except EffscopeError as error:
            if not form.rival:
                work.notes.append(f"these models were measured in torch, not in onnxruntime: {error}")
                return forms
            work.notes.append(f"{form.name} was not measured: {error}")
    return made + [found for form in made if form.name in (BASE, CHOSEN) and (found := _int8(work, form)) is not None]


def _int8(work: Work, form: Form) -> Form | None:
    """The int8 form; None, and a note, if there is none."""
    assert form.graph is not None
    work.parts.part(0.0, f"{form.name}: quantising")
    try:
        graph = int8_graph(form.graph, squares(work.context.banks.train))
    except EffscopeError as error:
        work.notes.append(f"{form.name} has no int8 form: {error}")
        return None
    return replace(form, name=f"{form.name} in int8", graph=graph)


def _scored(work: Work, form: Form) -> Evaluation:
    """Detections of a form in the validation images, and their AP."""
    context, bank = work.context, work.context.banks.val
    progress = work.parts.part(work.plan.scoring, f"{form.name}: scoring")
    config = EvalConfig(imgsz=form.imgsz, batch=context.config.batch, device=context.device)
    if form.imgsz != bank.imgsz:
        bank = load_bank(bank.dataset, form.imgsz)
    if form.graph is None:
        return evaluate(deploy(form.network), bank, config, progress)
    detector = GraphDetector(form.graph, context.threads, form.imgsz)
    return evaluate(cast("Network", detector), bank, config, progress)


def _timed(work: Work, forms: list[Form]) -> Timed:
    """Latency of all forms, in turn; in torch size by size."""
    graphs = {form.name: (form.graph, form.imgsz) for form in forms if form.graph is not None}
    return graphs_in_turn(graphs, work.context.threads) if graphs else _by_size(work, forms)


def _timed_in_torch(work: Work, forms: list[Form]) -> dict[str, Latency]:
    """Latency in torch of the float forms at full size, if onnxruntime measures the others."""
    side = work.context.config.imgsz
    whole = [form for form in forms if form.imgsz == side and not form.name.endswith("in int8")]
    return _by_size(work, whole).latency if any(form.graph for form in forms) else {}


def _by_size(work: Work, forms: list[Form]) -> Timed:
    """Latency in torch, in turn for each size of image."""
    context = work.context
    found = [
        in_turn(
            {form.name: form.network for form in forms if form.imgsz == side}, side, context.device, "torch",
            context.threads, work.say,
        )
        for side in dict.fromkeys(form.imgsz for form in forms)
    ]  # fmt: skip
    latency = {name: one for timed in found for name, one in timed.latency.items()}
    return Timed(latency, found[0].runtime, found[0].threads)
