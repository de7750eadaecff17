"""`effscope cost`, `effscope diff`, `effscope zoo`."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer

from effscope import api
from effscope.cli.options import Csv, Imgsz, Json, Out, Quiet
from effscope.cli.saving import Delivery, deliver, save, save_csv, show, write_folder
from effscope.cli.terminal import display
from effscope.errors import EffscopeError, NegativeAnswer, unknown
from effscope.results import CostResult, CountersResult, plain

MODES = {
    "--layer": {"cin", "cout", "stride", "size", "symbolic"},
    "--scale": {"phi", "imgsz"},
    "--as, --explain and --check": {"imgsz", "counter", "explain", "check"},
    "the cost of a MODEL": {"imgsz", "by", "dtype", "device", "strict"},
}
"""What `effscope cost` is asked -> the options that have a say in it."""


def _refuse_others(context: typer.Context, mode: str) -> None:
    """Raises EffscopeError for an option that was given and has no say."""
    for parameter in context.command.params:
        name = str(parameter.name)
        homes = [known for known, options in MODES.items() if name in options]
        source = context.get_parameter_source(name)
        if homes and mode not in homes and source is not None and source.name == "COMMANDLINE":
            raise EffscopeError(f"{parameter.opts[0]} has no say in {mode}: it goes with {' and '.join(homes)}")


def cost(
    context: typer.Context,
    model: Annotated[
        Optional[str], typer.Argument(metavar="[MODEL]", help="Zoo name, layout YAML, weights or run.")
    ] = None,
    layer: Annotated[
        Optional[str], typer.Option("--layer", help="A layer against its cheaper forms: conv3x3, c2f, cib, psa, ...")
    ] = None,
    cin: Annotated[int, typer.Option("--cin", help="Input channels of --layer.")] = 256,
    cout: Annotated[int, typer.Option("--cout", help="Output channels; 0: 2 x cin at stride 2, else cin.")] = 0,
    stride: Annotated[int, typer.Option("--stride", help="Stride of --layer.")] = 2,
    size: Annotated[int, typer.Option("--size", help="Side of the map --layer reads.")] = 80,
    symbolic: Annotated[bool, typer.Option("--symbolic", help="Formulas too (needs sympy).")] = False,
    scale: Annotated[
        Optional[str], typer.Option("--scale", metavar="MODEL", help="Compound scaling of a model instead.")
    ] = None,
    phi: Annotated[str, typer.Option("--phi", help="Exponents of --scale: 1..3 or 0,2.")] = "0..3",
    imgsz: Annotated[
        Optional[int], typer.Option("--imgsz", help="Side of the image in px: 640, or what the model is made for.")
    ] = None,
    by: Annotated[
        str, typer.Option("--by", help="Rows of the table: layer, stage, op, or form of the model.")
    ] = "layer",
    dtype: Annotated[
        str, typer.Option("--dtype", help="Of values and weights: float32, float16, bfloat16, int8.")
    ] = "float32",
    device: Annotated[
        Optional[str], typer.Option("--device", help="Predict times: here, or a name of `effscope devices`.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="What cannot be counted is an error.")] = False,
    counter: Annotated[
        Optional[str], typer.Option("--as", metavar="TOOL", help="As paper, fvcore, thop, ultralytics or torch counts.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="From our number to other tools', term by term.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Run fvcore, thop and torch's counter beside ours; exit 1 if they differ.")
    ] = False,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Exact parameters, MACs, FLOPs and bytes: of a model, of a layer against its forms, of a model scaled."""
    if sum(given is not None for given in (model, layer, scale)) != 1:
        raise EffscopeError(
            "cost needs a MODEL, --layer or --scale, one of them: effscope cost yolov8s, or --layer conv3x3"
        )
    to, others = Delivery(json, csv, out, quiet), counter is not None or explain or check
    _refuse_others(context, list(MODES)[0 if layer else 1 if scale else 2 if others else 3])
    if layer is not None:
        deliver([api.layer_cost(layer, cin, cout, stride, size, symbolic)], to)
    elif scale is not None:
        deliver([api.scaled_cost(scale, phi, imgsz=imgsz)], to)
    elif others:
        assert model is not None
        _other_counters(api.counters(model, imgsz, counter, check), explain, to)
    else:
        assert model is not None
        _cost_of_model(model, by, to, imgsz=imgsz, dtype=dtype, device=device, strict=strict)


def _other_counters(result: CountersResult, explain: bool, to: Delivery) -> None:
    """The numbers of the tools, then their terms (as csv the terms alone).

    Raises:
        NegativeAnswer: a tool gives another number than our rules for it, or no tool could be run.
    """
    from effscope.reporting.pages.counters import page  # noqa: PLC0415

    show(lambda: [page(result, explain)], to)
    save([result], to._replace(csv=None) if explain else to)
    if explain and to.csv is not None:
        save_csv(to.csv, [plain(term) for term in result.terms])
    if to.out is not None:
        write_folder([page(result, explain)], to)
    ran = [row for row in result.rows if row.version]
    if ran and all(row.measured is None for row in ran):
        raise NegativeAnswer(f"{result.model}: no tool ran: {'; '.join(f'{row.counter} {row.version}' for row in ran)}")
    wrong = [row for row in result.rows if not row.explained]
    if wrong:
        said = "; ".join(f"{r.counter} {r.version} says {r.measured:,}, our rules for it {r.count:,}" for r in wrong)
        missing = ", ".join(row.name for row in result.uncounted_ops)
        raise NegativeAnswer(
            f"{result.model}: not explained: {said}" + (f"; not counted here: {missing}" * bool(missing))
        )


def _cost_of_model(model: str, by: str, to: Delivery, **settings: Any) -> None:
    from effscope.reporting.pages.cost import COST_VIEWS, page  # noqa: PLC0415

    if by not in COST_VIEWS:
        raise unknown("--by", by, COST_VIEWS)
    counted = api.cost(model, **settings)
    if not isinstance(counted, CostResult):
        deliver([counted], to)
        return
    show(lambda: [page(counted, by)], to)
    save([counted], to._replace(csv=None))
    if to.csv is not None:
        save_csv(to.csv, [plain(row) for row in getattr(counted, COST_VIEWS[by])])
    if to.out is not None:
        from effscope.reporting.pages import pages  # noqa: PLC0415

        write_folder(pages(counted), to)


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="Zoo name, layout YAML, weights or run.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    imgsz: Imgsz = None,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """What each stage costs in one model and in another."""
    deliver([api.diff(a, b, imgsz)], Delivery(json, csv, out, quiet))


def zoo(
    pattern: Annotated[str, typer.Argument(metavar="[PATTERN]", help="Only names that contain this text.")] = "",
    backbones: Annotated[
        bool, typer.Option("--backbones", help="Classification backbones instead, traced here (needs torch and timm).")
    ] = False,
    json: Json = None,
    csv: Csv = None,
    quiet: Quiet = False,
) -> None:
    """The built-in models beside what was published of them."""
    with display(quiet) as (progress, _):
        result = api.zoo(pattern, backbones, progress)
    deliver([result], Delivery(json, csv, quiet=quiet))
