"""The parts that changes make and replace, each alone: to be timed here, or written for another device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from effscope.config import ExportConfig, moves_of
from effscope.errors import EffscopeError
from effscope.exporting.onnx_graph import checked_graph, piece_graph
from effscope.files import make_folder, write_bytes, write_text
from effscope.layouts.expand import expand
from effscope.models.open import USUAL_SIZE
from effscope.models.opened import Model
from effscope.nn.build import build
from effscope.progress import Progress, silent
from effscope.results import Change, ExportResult, origin
from effscope.searching.changes import layout_of, library_of, position_of
from effscope.searching.latency_table import template
from effscope.searching.policies.library import WHOLE, part_key, piece_key
from effscope.spec.graph import DECODED
from effscope.spec.layout import Layout
from effscope.timing.pieces import Piece, pieces_of

TABLE = "latency.csv"


def pieces(base: Layout, changes: Sequence[Change], imgsz: int) -> dict[str, Piece]:
    """Name -> the parts that changes replace, then the changed parts; with random weights, for images of `imgsz` px."""
    positions = {change: position_of(base, change) for change in changes}
    before = pieces_of(build(expand(base)), positions.values(), imgsz)
    found = {part_key(change): before[position] for change, position in positions.items()}
    for change, position in positions.items():
        variant = build(expand(layout_of(base, (change,))))
        found[piece_key(change)] = pieces_of(variant, [position], imgsz)[position]
    return found


def write_library(
    model: Model, moves: str | Sequence[str], imgsz: int | None, folder: Path, progress: Progress = silent
) -> ExportResult:
    """Write the whole model and every piece as ONNX, and a csv file to fill in with their times.

    A piece that ONNX cannot express is left out and named in the notes.

    Args:
        model: a detector.
        moves: as in `SearchConfig.moves`, also families.
        imgsz: side of the image in px; default: the size in training, else 640.
        folder: output folder; created if it does not exist.
        progress: called with the fraction done and a text.

    Raises:
        EffscopeError: unknown moves, no part to change, or a model that ONNX cannot express.
    """
    layout, side = model.layout, imgsz or model.imgsz or USUAL_SIZE
    changes = library_of(layout, moves_of(moves))
    network = model.network().eval()
    if DECODED not in network.spec.views:
        raise EffscopeError(f"{model.name} has no head that effscope can decode: it cannot be exported")
    graphs, notes = {WHOLE: checked_graph(network, (), side)[0]}, []
    parts = pieces(layout, changes, side)
    for n, (name, piece) in enumerate(parts.items()):
        progress(n / len(parts), f"exporting {name}")
        try:
            graphs[name] = piece_graph(piece.layer, piece.inputs)
        except EffscopeError as error:
            notes.append(f"{name} is left out: {error}")
    made = make_folder(folder)
    files = {name: made / f"{name.replace(' ', '-')}.onnx" for name in graphs} | {"table": made / TABLE}
    for name, data in graphs.items():
        write_bytes(files[name], data)
    write_text(files["table"], template(graphs))
    notes += [
        "the pieces have random weights: they are for timing",
        f"time each file on your device, write the ms into {files['table']}, and give it to search as `latency_table` "
        f"with `imgsz` {side}",
    ]
    paths = {name: str(path) for name, path in files.items()}
    return ExportResult(model.name, side, paths, tuple(notes), origin(ExportConfig(("onnx",), side), layout.digest()))
