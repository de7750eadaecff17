"""`effscope cost`, `effscope diff`, `effscope zoo`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Optional

import typer

from effscope import api
from effscope.cli.options import Csv, Imgsz, Json, Out, Quiet
from effscope.cli.saving import deliver, list_files, save, save_csv, show
from effscope.cli.terminal import display
from effscope.errors import EffscopeError, NegativeAnswer, unknown
from effscope.results import CostResult, CountersResult

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
        from effscope.reporting.cost_tables import layer_cost_table  # noqa: PLC0415

        deliver("cost", api.layer_cost(layer, cin, cout, stride, size, symbolic), layer_cost_table, *to)
    elif scale is not None:
        from effscope.reporting.cost_tables import scale_table  # noqa: PLC0415

        deliver("scale", api.scaled_cost(scale, phi, imgsz=imgsz), scale_table, *to)
    elif others:
        assert model is not None
        _other_counters(api.counters(model, imgsz, counter, check), explain, to)
    else:
        assert model is not None
        _cost_of_model(model, by, to, imgsz=imgsz, dtype=dtype, device=device, strict=strict)


class Delivery(NamedTuple):
    """Where a result goes."""

    json: str | None
    csv: Path | None
    out: Path | None
    quiet: bool


def _other_counters(result: CountersResult, explain: bool, to: Delivery) -> None:
    """The tools' numbers, then their terms (as csv the terms alone). A tool that says what no rule of ours explains is
    a no, and so is a check in which none could be run."""
    from effscope.reporting.counter_tables import counters_table, terms_table  # noqa: PLC0415

    deliver("counters", result, counters_table, *to._replace(csv=None if explain else to.csv))
    for row in result.rows if explain else ():
        show(lambda name=row.counter: terms_table(result, name), to.quiet, to.json)  # type: ignore[misc]
    if explain and to.csv is not None:
        save_csv(to.csv, [asdict(term) for term in result.terms])
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
    from effscope.reporting.cost_tables import COST_VIEWS, cost_table  # noqa: PLC0415

    json, csv, out, quiet = to
    if by not in COST_VIEWS:
        raise unknown("--by", by, COST_VIEWS)
    counted = api.cost(model, **settings)
    show(lambda: cost_table(counted, by), quiet, json)
    save([counted], json, None)
    if csv is not None:
        view = COST_VIEWS[by] if isinstance(counted, CostResult) else counted.TABLE
        save_csv(csv, [asdict(row) for row in getattr(counted, view)])
    if out is not None:
        from effscope.reporting.folder import write_cost  # noqa: PLC0415

        list_files(write_cost(out, counted), quiet, json)


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
    from effscope.reporting.cost_tables import diff_table  # noqa: PLC0415

    deliver("diff", api.diff(a, b, imgsz), diff_table, json, csv, out, quiet)


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
    from effscope.reporting.tables import zoo_table  # noqa: PLC0415

    show(lambda: zoo_table(result), quiet, json)
    save([result], json, csv)
