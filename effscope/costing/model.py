"""Cost of a model by layer, stage and primitive, and in each form; difference of two models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from effscope.config import CostConfig, DiffConfig
from effscope.config.image_size import ImageSize, image_shape
from effscope.costing.laws import ITEM_BYTES, OTHER_KINDS, VIEWS_ONLY, elements, is_counted
from effscope.costing.nodes import STORED, NodeCost, node_costs, operation, parameters, total, weights
from effscope.errors import counted, unknown
from effscope.layouts.expand import expand, outline
from effscope.results import (
    DECODED_FORM,
    DEPLOY_FORM,
    PLAIN_FORM,
    CostResult,
    CostRow,
    DiffResult,
    DiffRow,
    FormRow,
    TensorRow,
    TensorsResult,
    UncountedRow,
    origin,
)
from effscope.spec.graph import DECODED, INPUT, Graph, input_channels
from effscope.spec.layout import Layout
from effscope.spec.outline import Outline
from effscope.spec.rewrite import deploy_form
from effscope.spec.shape_rules import Shape

CONVENTION = (
    "params as built; macs, flops, conv_flops of the one-head inference view, batch 1, branches unmerged; "
    "flops = 2*macs + bias + norm + activation + pooling + resampling + softmax + sums; "
    "conv_flops = 2*MAC of convolutions"
)
HEAD, REST = "head", "between stages"
FREE = STORED | {"input"}
"""Primitives that are not operations."""


def cost(layout: Layout, imgsz: ImageSize = 640, dtype: str = "float32") -> CostResult:
    """Exact cost of a layout on one image.

    Args:
        layout: the layout to count.
        imgsz: size of the image.
        dtype: dtype of activations and weights, a key of `ITEM_BYTES`.

    Raises:
        EffscopeError: layers do not fit together at this size, or the dtype is unknown.
    """
    return cost_graph(expand(layout), outline(layout), imgsz, dtype)


def inference_view(graph: Graph) -> Graph:
    """The part of the graph for inference: for a detector the decoded output and its inputs, else the whole graph."""
    return graph.keep(DECODED) if DECODED in graph.views else graph


def cost_graph(
    graph: Graph, outline: Outline, imgsz: ImageSize, dtype: str = "float32", image: Shape | None = None
) -> CostResult:
    """Exact cost of any graph on one input, with the rows of its outline.

    Args:
        graph: the graph to count.
        outline: names of its rows.
        imgsz: size of the image.
        dtype: dtype of activations and weights, a key of `ITEM_BYTES`.
        image: shape of the input, if the size does not tell it.

    Raises:
        EffscopeError: nodes do not fit together at this size, or the dtype is unknown.
    """
    if dtype not in ITEM_BYTES:
        raise unknown("`dtype`", dtype, ITEM_BYTES)
    image = image_shape(imgsz, input_channels(graph)) if image is None else image
    known = {row.node.name: row for row in node_costs(graph, image)}
    forms = {name: (form, node_costs(form, image, known)) for name, form in forms_of(graph).items()}
    main = DECODED_FORM if DECODED_FORM in forms else PLAIN_FORM
    rows = forms[main][1]
    counted = [row for row in rows if row.node.op != "input"]
    size = ITEM_BYTES[dtype]
    by_layer = _grouped(counted, lambda r: r.node.layer)
    by_stage = _grouped(counted, lambda r: stage_of(outline, r.node.layer))
    by_op = _grouped(counted, operation)
    numbers = {f"stage {k}": k for k in outline.stages.values()}
    order = [name for name in (*numbers, REST, HEAD) if name in by_stage]
    whole = _row(outline.model, "", rows, size)
    unreached = [_unreached(outline)] if outline.unreached else []
    extra = sum(outline.unreached.values())
    peaks = {name: _peak(*form) for name, form in forms.items()}
    shown = {name: _form_row(name, rows, peaks[name][0], size) for name, (_, rows) in forms.items()}
    missing = uncounted(rows)
    return CostResult(
        model=outline.model,
        imgsz=imgsz,
        convention=CONVENTION.replace("batch 1", f"batch {image[0]}"),
        params=sum(row.params for row in known.values()) + extra,
        params_one_head=whole.params + extra,
        params_deploy=shown[DEPLOY_FORM].params + extra,
        uncounted=tuple(f"{row.name} x {row.calls}" if row.calls > 1 else row.name for row in missing),
        layers=(
            *(_row(*outline.rows[layer], group, size, outline.stages.get(layer)) for layer, group in by_layer.items()),
            *unreached,
        ),
        stages=(*(_row(name, "", by_stage[name], size, numbers.get(name)) for name in order), *unreached),
        ops=(*(_row(name, "", group, size) for name, group in by_op.items()), *unreached),
        origin=origin(CostConfig(imgsz, dtype), outline.digest),
        notes=outline.notes,
        dtype=dtype,
        **{kind: getattr(whole, kind) for kind in ("macs", "flops", "conv_flops", "bytes", *OTHER_KINDS)},
        peak_activation_bytes=size * peaks[main][0],
        peak_at=peaks[main][1],
        forms=tuple(shown.values()),
        coverage=coverage(rows),
        uncounted_ops=missing,
    )


def stage_of(outline: Outline, layer: str) -> str:
    """Stage of a layer of the graph: "stage k", "head" or "between stages"."""
    return f"stage {outline.stages[layer]}" if layer in outline.stages else HEAD if layer in outline.heads else REST


def _grouped(rows: list[NodeCost], key: Callable[[NodeCost], str]) -> dict[str, list[NodeCost]]:
    groups: dict[str, list[NodeCost]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _row(name: str, block: str, rows: Sequence[NodeCost], size: int, stage: int | None = None) -> CostRow:
    counts, params = total(rows)
    read, written = sum([row.read for row in rows]), counts.elements_out
    last = rows[-1]
    return CostRow(
        name, block, () if last.node.op == "split" else tuple(last.shape), params, counts.macs, counts.flops,
        counts.conv_flops, size * (read + written), stage, **{kind: getattr(counts, kind) for kind in OTHER_KINDS},
        bytes_read=size * read, bytes_written=size * written,
        intensity=counts.flops / (size * (read + written)) if read + written else 0.0,
    )  # fmt: skip


def _unreached(outline: Outline) -> CostRow:
    """A row for parameters without a node, so that every column sums to its total. They move no bytes."""
    params = sum(outline.unreached.values())
    return CostRow("not reached", counted(len(outline.unreached), "tensor"), (), params, 0, 0, 0, 0)


def _peak(graph: Graph, rows: Sequence[NodeCost]) -> tuple[int, str]:
    return peak_elements(rows, [name for names in graph.views.values() for name in names])


def peak_elements(rows: Sequence[NodeCost], outputs: Iterable[str]) -> tuple[int, str]:
    """Largest number of values that are live at the same time, and the node that runs then.

    A value is live from the node that computes it to the last node that reads it. Nodes run in order, and none works in
    place. The image and the outputs are live until the end. A view (`VIEWS_ONLY`) keeps the memory of its input live.
    Torch needs slightly more: it keeps the arguments of a layer while the layer runs.

    Args:
        rows: every node in forward order, with the input.
        outputs: names of the output nodes.
    """
    holder: dict[str, str] = {}
    last: dict[str, int] = {}
    for n, row in enumerate(rows):
        name, inputs = row.node.name, row.node.inputs
        holder[name] = holder[inputs[0]] if row.node.op in VIEWS_ONLY and inputs else name
        for read in (name, *inputs):
            last[holder[read]] = n
    last |= {holder[name]: len(rows) for name in (INPUT, *outputs) if name in holder}
    ends: dict[int, list[int]] = {}
    live, most, where = 0, 0, ""
    for n, row in enumerate(rows):
        name = row.node.name
        if holder[name] == name and row.node.op not in STORED:
            size = elements(row.shape)
            live += size
            ends.setdefault(last[name], []).append(size)
        if live > most:
            most, where = live, name
        live -= sum(ends.pop(n, ()))
    return most, where


def raw_views(graph: Graph) -> tuple[str, ...]:
    """Views of a detector with raw logits, for its losses."""
    return tuple(view for view in graph.views if view != DECODED)


FORMS: dict[str, Callable[[Graph], Graph]] = {
    "training": lambda graph: graph.keep(*raw_views(graph)),
    "one head": lambda graph: graph.keep(raw_views(graph)[-1]),
    DECODED_FORM: inference_view,
    DEPLOY_FORM: lambda graph: deploy_form(graph)[0],
}
"""Forms of a detector: in training all heads with raw logits; only the inference head; that head with boxes and scores;
that with batch norms folded and parallel branches merged, for deployment."""

PLAIN_FORMS: dict[str, Callable[[Graph], Graph]] = {PLAIN_FORM: inference_view, DEPLOY_FORM: FORMS[DEPLOY_FORM]}
"""Forms of a model without detection heads."""


def forms_of(graph: Graph) -> dict[str, Graph]:
    """Form -> graph of the model in that form."""
    forms = FORMS if DECODED in graph.views else PLAIN_FORMS
    return {name: form(graph) for name, form in forms.items()}


def _form_row(name: str, rows: Sequence[NodeCost], peak: int, size: int) -> FormRow:
    counts, params = total(rows)
    moved = size * (sum([row.read for row in rows]) + counts.elements_out)
    return FormRow(name, params, counts.macs, counts.flops, counts.conv_flops, moved, size * peak)


def coverage(rows: Iterable[NodeCost]) -> dict[str, int]:
    """Number of operations by kind: "counted", "free" (they copy or view values), "uncounted" (no law)."""
    kinds = Counter(_kind(row) for row in rows if row.node.op not in FREE)
    return {kind: kinds[kind] for kind in ("counted", "free", "uncounted")}


def _kind(row: NodeCost) -> str:
    if not is_counted(row.node.op, row.node.args):
        return "uncounted"
    return "counted" if row.counts.flops else "free"


def uncounted(rows: Iterable[NodeCost]) -> tuple[UncountedRow, ...]:
    """Operations without a law: calls, parameters and an upper bound on multiply-adds.

    The bound assumes that each output value uses each input value and each parameter once. It is loose, and it is wrong
    for operations that iterate.
    """
    groups: dict[str, list[NodeCost]] = {}
    for row in rows:
        if not is_counted(row.node.op, row.node.args):
            groups.setdefault(row.node.args["target"] or row.node.module, []).append(row)
    return tuple(
        UncountedRow(name, len(calls), sum(row.params for row in calls), sum(map(_bound, calls)))
        for name, calls in groups.items()
    )


def _bound(row: NodeCost) -> int:
    own = sum(n for _, n in row.weights)
    return int(elements(row.shape) * (sum(map(elements, row.inputs)) + own))


def cost_of_tensors(graph: Graph, outline: Outline) -> TensorsResult:
    """Parameters of weights of an unknown architecture, by module."""
    by_layer: dict[str, int] = {}
    for node in graph.nodes:
        by_layer[node.layer] = by_layer.get(node.layer, 0) + sum(n for _, n in weights(node))
    rows = tuple(TensorRow(*outline.rows[layer], params) for layer, params in by_layer.items())
    why = "everything except parameters: the file has only tensors, not their connections"
    return TensorsResult(outline.model, parameters(graph), (why,), rows, origin(None, outline.digest), outline.notes)


TOTALS = {"params": "params_one_head", "macs": "macs", "flops": "flops"}
"""Column of the difference -> field of `CostResult`."""


def difference(a: CostResult, b: CostResult) -> DiffResult:
    """Cost per stage of two models at the same image size. A part that is missing in one model has None there."""
    of_a, of_b = ({row.name: row for row in cost.stages} for cost in (a, b))
    total = {name: _compared(getattr(a, field), getattr(b, field)) for name, field in TOTALS.items()}
    rows = tuple(_diff_row(part, of_a.get(part), of_b.get(part)) for part in dict.fromkeys([*of_a, *of_b]))
    return DiffResult(a.model, b.model, a.imgsz, rows, total, origin(DiffConfig(a.imgsz)))


def _compared(a: int, b: int) -> dict[str, float]:
    return {"a": a, "b": b, "change": b / a - 1 if a else 0.0}


def _diff_row(part: str, a: CostRow | None, b: CostRow | None) -> DiffRow:
    both = [None if row is None else getattr(row, name) for name in ("params", "macs", "flops") for row in (a, b)]
    return DiffRow(part, *both)
