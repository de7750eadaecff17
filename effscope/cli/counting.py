"""`effscope cost`, `effscope diff`, `effscope zoo`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Optional

import typer

from effscope import api
from effscope.cli.options import Csv, Imgsz, Json, Out, Quiet
from effscope.cli.saving import deliver, list_files, save, save_csv, show
from effscope.errors import EffscopeError
from effscope.results import CostResult
from effscope.terminal import display


def cost(
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
    by: Annotated[str, typer.Option("--by", help="Rows of the table: layer, stage or op.")] = "layer",
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
    from effscope.reporting import tables  # noqa: PLC0415

    if layer is not None:
        compared = api.layer_cost(layer, cin, cout, stride, size, symbolic)
        deliver("cost", compared, tables.layer_cost_table, json, csv, out, quiet)
    elif scale is not None:
        grown = api.scaled_cost(scale, phi, imgsz=imgsz)
        deliver("scale", grown, tables.scale_table, json, csv, out, quiet)
    else:
        assert model is not None
        _cost_of_model(model, imgsz, by, json, csv, out, quiet)


def _cost_of_model(
    model: str, imgsz: int | None, by: str, json: str | None, csv: Path | None, out: Path | None, quiet: bool
) -> None:
    from effscope.reporting import tables  # noqa: PLC0415

    if by not in tables.COST_VIEWS:
        raise EffscopeError(f"unknown --by '{by}': choose one of {', '.join(tables.COST_VIEWS)}")
    counted = api.cost(model, imgsz)
    show(lambda: tables.cost_table(counted, by), quiet, json)
    save([counted], json, None)
    if csv is not None:
        view = tables.COST_VIEWS[by] if isinstance(counted, CostResult) else counted.TABLE
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
    from effscope.reporting.tables import diff_table  # noqa: PLC0415

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
