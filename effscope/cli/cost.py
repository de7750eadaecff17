"""`effscope cost` answers four questions, each with its own options: a model, a layer, a scaled model, other tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Optional

import typer

from effscope import api
from effscope.cli.next_steps import after_cost, suggest
from effscope.cli.options import ANY_MODEL_WORDS, Csv, Details, Json, Out, Quiet, Size
from effscope.cli.questions import Questions
from effscope.cli.saving import Delivery, deliver, save, save_csv, show, write_folder
from effscope.errors import EffscopeError, NegativeAnswer, unknown
from effscope.results import CostResult, CountersResult, plain

Model = Annotated[str, typer.Argument(metavar="MODEL", help=ANY_MODEL_WORDS)]


LAYER, SCALING, OTHER_TOOLS = "One layer", "Scaling", "Other tools"
"""Panels of the help text."""


def of_layer(
    layer: Annotated[
        str,
        typer.Option(
            "--layer",
            metavar="NAME",
            help="Compare a layer with cheaper forms: conv3x3, c2f, cib, psa, ...",
            rich_help_panel=LAYER,
        ),
    ],
    cin: Annotated[
        int, typer.Option("--cin", metavar="N", help="Input channels of --layer.", rich_help_panel=LAYER)
    ] = 256,
    cout: Annotated[
        int,
        typer.Option(
            "--cout", metavar="N", help="Output channels; 0: 2 x cin at stride 2, else cin.", rich_help_panel=LAYER
        ),
    ] = 0,
    stride: Annotated[int, typer.Option("--stride", metavar="N", help="Stride of --layer.", rich_help_panel=LAYER)] = 2,
    size: Annotated[
        int, typer.Option("--size", metavar="N", help="Side of the input feature map.", rich_help_panel=LAYER)
    ] = 80,
    symbolic: Annotated[bool, typer.Option("--symbolic", help="Also print formulas.", rich_help_panel=LAYER)] = False,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """One layer against cheaper forms."""
    deliver([api.layer_cost(layer, cin, cout, stride, size, symbolic)], Delivery(json, csv, out, quiet))


def of_scaled_model(
    scale: Annotated[
        str,
        typer.Option(
            "--scale",
            metavar="MODEL",
            help="Compound scaling of this model: depth, width and image side grow together.",
            rich_help_panel=SCALING,
        ),
    ],
    phi: Annotated[
        str, typer.Option("--phi", metavar="LIST", help="Exponents of --scale: 1..3 or 0,2.", rich_help_panel=SCALING)
    ] = "0..3",
    imgsz: Size = None,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """A model scaled step by step."""
    deliver([api.scaled_cost(scale, phi, imgsz=imgsz)], Delivery(json, csv, out, quiet))


def of_model(
    model: Model,
    imgsz: Size = None,
    by: Annotated[
        str,
        typer.Option(
            "--by", metavar="WORD", help="Rows of the table: layer, stage (blocks at one resolution), op, or form."
        ),
    ] = "layer",
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="NAME", help="Activations and weights: float32, float16, bfloat16, int8.")
    ] = "float32",
    device: Annotated[
        Optional[str],
        typer.Option(
            "--device", metavar="NAME", help="Predict times: here (this machine) or a name that effscope devices lists."
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail if an operation cannot be counted.")] = False,
    details: Details = False,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """A model by layer, stage, operation or form."""
    from effscope.reporting.pages.cost import COST_VIEWS, page  # noqa: PLC0415

    to = Delivery(json, csv, out, quiet, details)
    if by not in COST_VIEWS:
        raise unknown("--by", by, COST_VIEWS)
    counted = api.cost(model, imgsz=imgsz, dtype=dtype, device=device, strict=strict)
    if not isinstance(counted, CostResult):
        deliver([counted], to)
        return
    show(lambda: [page(counted, by)], to)
    save([counted], to._replace(csv=None))
    if csv is not None:
        save_csv(csv, [plain(row) for row in getattr(counted, COST_VIEWS[by])])
    if out is not None:
        from effscope.reporting.pages import pages  # noqa: PLC0415

        write_folder(pages(counted), to)
    suggest(after_cost(model, by), to)


def of_other_counters(
    model: Model,
    imgsz: Size = None,
    counter: Annotated[
        Optional[str],
        typer.Option(
            "--as",
            metavar="TOOL",
            help="Count like paper, fvcore, thop, ultralytics or torch.",
            rich_help_panel=OTHER_TOOLS,
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Explain the difference to other tools term by term.", rich_help_panel=OTHER_TOOLS
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Run fvcore, thop and torch's counter and compare; exit 1 if they differ.",
            rich_help_panel=OTHER_TOOLS,
        ),
    ] = False,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """The counts of other tools, then the terms of the difference (with --explain the csv holds only the terms).

    Raises:
        NegativeAnswer: a tool returns another number than effscope's rules for it, or fails.
    """
    from effscope.reporting.pages.counters import page  # noqa: PLC0415

    to, result = Delivery(json, csv, out, quiet), api.counters(model, imgsz, counter, check)
    show(lambda: [page(result, explain)], to)
    save([result], to._replace(csv=None) if explain else to)
    if explain and csv is not None:
        save_csv(csv, [plain(term) for term in result.terms])
    if out is not None:
        write_folder([page(result, explain)], to)
    _judge(result)


def _judge(result: CountersResult) -> None:
    failed = [f"{row.counter} {row.version}" for row in result.rows if row.version and row.measured is None]
    wrong = [row for row in result.rows if not row.explained]
    if wrong:
        said = "; ".join(f"{r.counter} {r.version} counts {r.measured:,}, our rules for it {r.count:,}" for r in wrong)
        missing = ", ".join(row.name for row in result.uncounted_ops)
        raise NegativeAnswer(
            f"{result.model}: not explained: {said}" + (f"; not counted here: {missing}" * bool(missing))
        )
    if failed:
        raise NegativeAnswer(f"{result.model}: not checked: {'; '.join(failed)}")


def _choose(options: Mapping[str, Any]) -> str:
    if sum(options[name] is not None for name in ("model", "layer", "scale")) != 1:
        raise EffscopeError(
            "cost needs exactly one of MODEL, --layer and --scale: effscope cost yolov8s, or --layer conv3x3"
        )
    for name in ("layer", "scale"):
        if options[name] is not None:
            return f"--{name}"
    asks_others = options["counter"] is not None or options["explain"] or options["check"]
    return OTHERS if asks_others else MODEL


OTHERS, MODEL = "--as, --explain and --check", "the cost of a MODEL"

cost = Questions(
    "Exact parameters, MACs, FLOPs and bytes of a model, of a layer and its cheaper forms, or of a scaled model.",
    {"--layer": of_layer, "--scale": of_scaled_model, MODEL: of_model, OTHERS: of_other_counters},
    _choose,
)
