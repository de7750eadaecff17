"""The command line: parse, call the API function of the same name, print or save. Nothing slow is imported here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from effscope import api
from effscope.errors import EffscopeError
from effscope.results import CostResult, EvalResult, ExportResult, Result
from effscope.terminal import display

if TYPE_CHECKING:
    from effscope.reporting.tables import Table

app = typer.Typer(
    name="effscope",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find where a vision model wastes compute, prove on your data what can go, take the smaller model home.",
)

Json = Annotated[Optional[str], typer.Option("--json", metavar="FILE|-", help="Write the result as JSON; - prints it.")]
Csv = Annotated[Optional[Path], typer.Option("--csv", metavar="FILE", help="Write the main table as csv.")]
Out = Annotated[Optional[Path], typer.Option("--out", metavar="DIR", help="Folder for tables, plots and the result.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Data = Annotated[str, typer.Option("--data", help="YOLO data.yaml, COCO folder, VOC folder, or builtin:shapes.")]
Imgsz = Annotated[Optional[int], typer.Option("--imgsz", help="Side of the image in px.")]
Epochs = Annotated[Optional[int], typer.Option("--epochs", help="Epochs (search: of each short training).")]
Batch = Annotated[Optional[int], typer.Option("--batch", help="Images per step.")]
Seed = Annotated[int, typer.Option("--seed", help="Fixes everything that is random.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
LimitTrain = Annotated[Optional[int], typer.Option("--limit-train", help="Only so many training images.")]
LimitVal = Annotated[Optional[int], typer.Option("--limit-val", help="Only so many validation images.")]
Weights = Annotated[Optional[str], typer.Option("--weights", help="Weights to start from, joined by name and shape.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Zoo name, layout YAML, weights file or run folder.")]


def _show(table: Callable[[], Table], quiet: bool, json: str | None) -> None:
    if quiet or json == "-":
        return
    from effscope.reporting.render import to_terminal  # noqa: PLC0415

    to_terminal(table())


def _save(results: list[Any], json: str | None, csv: Path | None) -> None:
    """JSON as the contract says: one object, or a list for several; csv of all main tables one below the other."""
    from json import dumps  # noqa: PLC0415

    from effscope.files import write_text  # noqa: PLC0415
    from effscope.reporting.render import to_csv  # noqa: PLC0415

    if json is not None:
        text = dumps(results[0].to_dict() if len(results) == 1 else [r.to_dict() for r in results], indent=1)
        if json == "-":
            sys.stdout.write(text + "\n")
        else:
            write_text(Path(json), text + "\n")
    if csv is not None:
        many = len(results) > 1
        rows = [{"model": r.model, **row} if many else row for r in results for row in _rows(r)]
        write_text(csv, to_csv(rows))


def _rows(result: Result) -> list[dict[str, Any]]:
    if isinstance(result, ExportResult):
        return [{"format": name, "file": file} for name, file in result.files.items()]
    if isinstance(result, EvalResult):
        return [{"class": name, "ap": ap} for name, ap in result.per_class.items()]
    return [asdict(row) for row in getattr(result, result.TABLE)]


def _files(files: dict[str, str], quiet: bool, json: str | None) -> None:
    if files and not quiet and json != "-":
        folder = Path(next(iter(files.values()))).parent
        typer.echo(f"files in {folder}: " + ", ".join(Path(f).name for f in files.values()))


@app.command()
def rank(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Zoo name, layout YAML, weights or run.")],
    at: Annotated[
        str, typer.Option("--at", help="stage: its closing conv; block: last conv of its last block; all: every conv.")
    ] = "stage",
    threshold: Annotated[
        str, typer.Option("--threshold", help="Fraction of the largest singular value, energy:0.9, eps, or mp.")
    ] = "0.5",
    fold_bn: Annotated[bool, typer.Option("--fold-bn/--raw", help="Fold the batch norm into the weight.")] = True,
    activations: Annotated[
        Optional[str], typer.Option("--activations", metavar="DATA", help="Rank outputs on images instead of weights.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="Images shown for --activations.")] = 64,
    centred: Annotated[bool, typer.Option("--centred/--uncentred", help="Activations about their mean.")] = True,
    imgsz: Imgsz = None,
    pictures: Annotated[str, typer.Option("--pictures", help="Of --out, with commas: png, svg, pdf.")] = "png",
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Numerical rank of each stage, ascending: the first is the most redundant. Several models are compared."""
    from effscope.reporting.rank_folder import picture_formats, write_rank  # noqa: PLC0415 - imports numpy

    formats, several = picture_formats(pictures), len(models) > 1
    with display(quiet) as (progress, say):
        settings = {
            "at": at, "threshold": threshold, "fold_bn": fold_bn, "activations": activations, "limit": limit,
            "imgsz": imgsz, "centred": centred, "progress": progress, "say": say,
        }  # fmt: skip
        results = api.ranks(models, **settings) if several else (api.rank(models[0], **settings),)  # type: ignore[arg-type]
    from effscope.reporting.rank_tables import compared_table, heads_table, rank_table  # noqa: PLC0415

    for result in results:
        _show(lambda result=result: rank_table(result), quiet, json)  # type: ignore[misc]
        if result.attention:
            _show(lambda result=result: heads_table(result), quiet, json)  # type: ignore[misc]
    if several:
        _show(lambda: compared_table(results), quiet, json)
    _save(list(results), json, csv)
    if out is not None:
        _files(write_rank(out, results, formats), quiet, json)


@app.command()
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
    from effscope.files import write_text  # noqa: PLC0415
    from effscope.reporting import folder, tables  # noqa: PLC0415
    from effscope.reporting.render import to_csv  # noqa: PLC0415

    if layer is not None:
        compared = api.layer_cost(layer, cin, cout, stride, size, symbolic)
        _show(lambda: tables.layer_cost_table(compared), quiet, json)
        _save([compared], json, csv)
        files = folder.write_table(out, "cost", compared, tables.layer_cost_table(compared)) if out else {}
    elif scale is not None:
        grown = api.scaled_cost(scale, phi, imgsz=imgsz)
        _show(lambda: tables.scale_table(grown), quiet, json)
        _save([grown], json, csv)
        files = folder.write_table(out, "scale", grown, tables.scale_table(grown)) if out else {}
    else:
        assert model is not None
        if by not in tables.COST_VIEWS:
            raise EffscopeError(f"unknown --by '{by}': choose one of {', '.join(tables.COST_VIEWS)}")
        counted = api.cost(model, imgsz)
        _show(lambda: tables.cost_table(counted, by), quiet, json)
        _save([counted], json, None)
        if csv is not None:
            view = tables.COST_VIEWS[by] if isinstance(counted, CostResult) else counted.TABLE
            write_text(csv, to_csv([asdict(row) for row in getattr(counted, view)]))
        files = folder.write_cost(out, counted) if out else {}
    _files(files, quiet, json)


@app.command()
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
    result = api.diff(a, b, imgsz)
    from effscope.reporting import folder, tables  # noqa: PLC0415

    _show(lambda: tables.diff_table(result), quiet, json)
    _save([result], json, csv)
    _files(folder.write_table(out, "diff", result, tables.diff_table(result)) if out else {}, quiet, json)


@app.command()
def train(
    model: Model,
    data: Data = "builtin:shapes",
    weights: Weights = None,
    imgsz: Imgsz = None,
    epochs: Epochs = None,
    batch: Batch = None,
    seed: Seed = 0,
    device: Device = "auto",
    limit_train: LimitTrain = None,
    limit_val: LimitVal = None,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Train a detector; the same command goes on after a stop."""
    with display(quiet) as (progress, say):
        result = api.train(
            model, weights=weights, out=out, progress=progress, say=say, data=data, imgsz=imgsz, epochs=epochs,
            batch=batch, seed=seed, device=device, limit_train=limit_train, limit_val=limit_val,
        )  # fmt: skip
    from effscope.reporting.tables import eval_table  # noqa: PLC0415

    _show(lambda: eval_table(result), quiet, json)
    _save([result], json, csv)
    _files(result.files, quiet, json)


@app.command("eval")
def evaluate(
    model: Model,
    data: Annotated[str, typer.Option("--data", help="YOLO data.yaml, COCO folder, VOC folder, or builtin:shapes.")],
    imgsz: Imgsz = None,
    batch: Annotated[int, typer.Option("--batch", help="Images at once.")] = 16,
    device: Device = "auto",
    split: Annotated[str, typer.Option("--split", help="Which split.")] = "val",
    limit_val: LimitVal = None,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """COCO AP of a detector on a data set; --out also writes detections and pictures."""
    with display(quiet) as (progress, say):
        result = api.eval(model, data, imgsz, batch, device, split, limit_val, out, progress, say)
    from effscope.reporting.tables import eval_table  # noqa: PLC0415

    _show(lambda: eval_table(result), quiet, json)
    _save([result], json, csv)
    _files({file.name: str(file) for file in sorted(out.iterdir())} if out else {}, quiet, json)


@app.command()
def search(
    base: Annotated[str, typer.Option("--base", help="Zoo name, layout YAML, weights file or run folder.")] = "yolov8n",
    weights: Weights = None,
    data: Data = "builtin:shapes",
    move: Annotated[str, typer.Option("--move", help="What a stage is swapped for: cib or cib-lk.")] = "cib",
    head: Annotated[
        str, typer.Option("--head", help="light: the base gets the light class head first; keep.")
    ] = "light",
    rule: Annotated[str, typer.Option("--rule", help="margin: AP >= base - margin; paper: AP >= base.")] = "margin",
    margin: Annotated[float, typer.Option("--margin", help="AP a swap may cost, a fraction.")] = 0.01,
    imgsz: Imgsz = None,
    base_epochs: Annotated[
        Optional[int], typer.Option("--base-epochs", help="Epochs of the base; half when it starts from weights.")
    ] = None,
    epochs: Epochs = None,
    batch: Batch = None,
    seed: Seed = 0,
    device: Device = "auto",
    limit_train: LimitTrain = None,
    limit_val: LimitVal = None,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Swap redundant stages for compact blocks until AP drops; hand over tables, plots and the smaller model."""
    with display(quiet) as (progress, say):
        result = api.search(
            base, out=out, progress=progress, say=say, weights=weights, data=data, move=move, head=head, rule=rule,
            margin=margin, imgsz=imgsz, base_epochs=base_epochs, epochs=epochs, batch=batch, seed=seed, device=device,
            limit_train=limit_train, limit_val=limit_val,
        )  # fmt: skip
    from effscope.reporting.tables import search_table  # noqa: PLC0415

    _show(lambda: search_table(result), quiet, json)
    _save([result], json, csv)
    _files(result.files, quiet, json)


@app.command()
def export(
    model: Model,
    to: Annotated[str, typer.Option("--to", help="Formats with commas: yaml, pt, safetensors, onnx.")] = "safetensors",
    imgsz: Imgsz = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the files.")] = Path("export"),
    json: Json = None,
    csv: Csv = None,
    quiet: Quiet = False,
) -> None:
    """Hand a model on: a layout YAML, a .pt that Ultralytics trains on, safetensors, ONNX."""
    result = api.export(model, to, out, imgsz)
    from effscope.reporting.tables import export_table  # noqa: PLC0415

    _show(lambda: export_table(result), quiet, json)
    _save([result], json, csv)


@app.command()
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

    _show(lambda: zoo_table(result), quiet, json)
    _save([result], json, csv)
