"""What a whole model costs, by layer, stage and primitive, and in each form it takes from training to the device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from effscope.config import CostConfig
from effscope.costing.laws import ITEM_BYTES, OTHER_KINDS, elements, is_counted
from effscope.costing.memory import peak_elements
from effscope.costing.nodes import STORED, NodeCost, node_costs, operation, parameters, total, weights
from effscope.errors import unknown
from effscope.layouts.expand import expand, outline
from effscope.results import (
    DECODED_FORM,
    DEPLOY_FORM,
    PLAIN_FORM,
    CostResult,
    CostRow,
    FormRow,
    TensorRow,
    TensorsResult,
    UncountedRow,
    origin,
)
from effscope.spec.graph import DECODED, Graph, image_shape
from effscope.spec.layout import Layout
from effscope.spec.outline import Outline
from effscope.spec.rewrite import deploy_form

CONVENTION = (
    "params as built; macs, flops, conv_flops of the one-head inference view, batch 1, branches unmerged; "
    "flops = 2*macs + bias + norm + activation + pooling + resampling + softmax + sums; "
    "conv_flops = 2*MAC of convolutions"
)
HEAD, REST = "head", "between stages"
FREE = STORED | {"input"}
"""Nodes that are values, no operations."""


def cost(layout: Layout, imgsz: int = 640, dtype: str = "float32") -> CostResult:
    """Exact cost of a layout on one square image.

    Args:
        layout: what to count.
        imgsz: side of the image in px.
        dtype: what values and weights are stored as, a key of `ITEM_BYTES`.

    Raises:
        EffscopeError: layers that do not fit together at this size.
    """
    return cost_graph(expand(layout), outline(layout), imgsz, dtype)


def inference_view(graph: Graph) -> Graph:
    """What runs at inference: of a detector the one head that decodes, of others everything."""
    return graph.keep(DECODED) if DECODED in graph.views else graph


def cost_graph(graph: Graph, outline: Outline, imgsz: int, dtype: str = "float32") -> CostResult:
    """Exact cost of any graph on one square image, in the rows its outline names.

    Raises:
        EffscopeError: nodes that do not fit together at this size, an unknown dtype.
    """
    if dtype not in ITEM_BYTES:
        raise unknown("--dtype", dtype, ITEM_BYTES)
    image = image_shape(imgsz)
    known = {row.node.name: row for row in node_costs(graph, image)}
    forms = {name: (form, node_costs(form, image, known)) for name, form in forms_of(graph).items()}
    main = DECODED_FORM if DECODED_FORM in forms else PLAIN_FORM
    rows = forms[main][1]
    counted = [row for row in rows if row.node.op != "input"]
    size = ITEM_BYTES[dtype]

    by_part = _grouped(counted, lambda r: r.node.layer)
    by_stage = _grouped(counted, lambda r: stage_of(outline, r.node.layer))
    by_op = _grouped(counted, operation)
    order = {f"stage {k}": k for k in dict.fromkeys(outline.stages.values()) if f"stage {k}" in by_stage}
    others = [name for name in (REST, HEAD) if name in by_stage]
    whole = _row(outline.model, "", rows, size)
    apart = [_unreached(outline)] if outline.unreached else []
    extra = sum(outline.unreached.values())
    peaks = {name: _peak(*form) for name, form in forms.items()}
    shown = {name: _form_row(name, rows, peaks[name][0], size) for name, (_, rows) in forms.items()}
    missing = uncounted(rows)
    return CostResult(
        model=outline.model,
        imgsz=imgsz,
        convention=CONVENTION,
        params=sum(row.params for row in known.values()) + extra,
        params_one_head=whole.params + extra,
        params_deploy=shown[DEPLOY_FORM].params + extra,
        macs=whole.macs,
        flops=whole.flops,
        conv_flops=whole.conv_flops,
        bytes=whole.bytes,
        uncounted=tuple(f"{row.name} x {row.calls}" if row.calls > 1 else row.name for row in missing),
        layers=(
            *(_row(*outline.rows[part], group, size, outline.stages.get(part)) for part, group in by_part.items()),
            *apart,
        ),
        stages=(*(_row(name, "", by_stage[name], size, order.get(name)) for name in (*order, *others)), *apart),
        ops=(*(_row(name, "", group, size) for name, group in by_op.items()), *apart),
        origin=origin(CostConfig(imgsz, dtype), outline.digest),
        notes=outline.notes,
        dtype=dtype,
        **{kind: getattr(whole, kind) for kind in OTHER_KINDS},
        peak_activation_bytes=size * peaks[main][0],
        peak_at=peaks[main][1],
        forms=tuple(shown.values()),
        coverage=coverage(rows),
        uncounted_ops=missing,
    )


def stage_of(outline: Outline, part: str) -> str:
    """Where a part of a graph belongs: "stage k", "head" or "between stages"."""
    return f"stage {outline.stages[part]}" if part in outline.stages else HEAD if part in outline.heads else REST


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
    """A row for the parameters no node owns: nothing moves them. Every column sums to its total with it."""
    params = sum(outline.unreached.values())
    return CostRow("not reached", f"{len(outline.unreached)} tensors", (), params, 0, 0, 0, 0)


def _peak(graph: Graph, rows: Sequence[NodeCost]) -> tuple[int, str]:
    return peak_elements(rows, [name for names in graph.views.values() for name in names])


def raw_views(graph: Graph) -> tuple[str, ...]:
    """Views of a detector that hold raw logits: what its losses read."""
    return tuple(view for view in graph.views if view != DECODED)


FORMS: dict[str, Callable[[Graph], Graph]] = {
    "training": lambda graph: graph.keep(*raw_views(graph)),
    "one head": lambda graph: graph.keep(raw_views(graph)[-1]),
    DECODED_FORM: inference_view,
    DEPLOY_FORM: lambda graph: deploy_form(graph)[0],
}
"""What a detector is from training to the device: every head with raw logits; the head inference uses; the same with
boxes and scores; batch norms folded and parallel branches merged."""


PLAIN_FORMS: dict[str, Callable[[Graph], Graph]] = {PLAIN_FORM: inference_view, DEPLOY_FORM: FORMS[DEPLOY_FORM]}
"""The forms of a model without heads."""


def forms_of(graph: Graph) -> dict[str, Graph]:
    """Every form of a model, by name."""
    forms = FORMS if DECODED in graph.views else PLAIN_FORMS
    return {name: form(graph) for name, form in forms.items()}


def _form_row(name: str, rows: Sequence[NodeCost], peak: int, size: int) -> FormRow:
    counts, params = total(rows)
    moved = size * (sum([row.read for row in rows]) + counts.elements_out)
    return FormRow(name, params, counts.macs, counts.flops, counts.conv_flops, moved, size * peak)


def coverage(rows: Iterable[NodeCost]) -> dict[str, int]:
    """How many operations are counted, free (they move or re-label values), and not counted."""
    kinds = Counter(_kind(row) for row in rows if row.node.op not in FREE)
    return {kind: kinds[kind] for kind in ("counted", "free", "uncounted")}


def _kind(row: NodeCost) -> str:
    if not is_counted(row.node.op, row.node.args):
        return "uncounted"
    return "counted" if row.counts.flops else "free"


def uncounted(rows: Iterable[NodeCost]) -> tuple[UncountedRow, ...]:
    """What computes and has no law, with how often it is called and a bound on its multiply-adds.

    The bound: every value given depends on every value read and every parameter at most once. It is loose, but holds
    for whatever does not iterate.
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
    """Parameters of weights whose architecture is not known, by part."""
    by_part: dict[str, int] = {}
    for node in graph.nodes:
        by_part[node.layer] = by_part.get(node.layer, 0) + sum(n for _, n in weights(node))
    rows = tuple(TensorRow(*outline.rows[part], params) for part, params in by_part.items())
    why = "everything but parameters: these are tensors, how they are joined is not known"
    return TensorsResult(outline.model, parameters(graph), (why,), rows, origin(None, outline.digest), outline.notes)
