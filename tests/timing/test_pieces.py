"""Single layers: they read what they read in the network, run alone in onnxruntime, and are timed in turn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.golden_files import lively

from effscope import api
from effscope.errors import EffscopeError
from effscope.exporting.onnx_graph import piece_graph, session
from effscope.layouts.zoo.catalog import layout
from effscope.nn.fuse import deploy
from effscope.results import HEAD, Change
from effscope.searching.changes import changeable, position_of
from effscope.searching.latency_table import COLUMNS, piece_names, read_table
from effscope.searching.pieces import TABLE, pieces
from effscope.searching.policies.library import part_key, piece_key
from effscope.timing.pieces import pieces_of, time_pieces

SIDE = 64
KINDS = {4: "a downsampling convolution", 8: "a stage", 15: "a stage after a concatenation", 22: "the head"}


@pytest.mark.parametrize("position", KINDS, ids=KINDS.get)
def test_a_piece_is_the_layer_of_the_network(position: int) -> None:
    """Its output for its inputs is what the deployed network computes there, also in onnxruntime."""
    network = deploy(lively(layout("yolov8n", 3)))
    seen: dict[str, object] = {}
    network.model[str(position)].register_forward_hook(lambda _, __, out: seen.update(out=out))
    piece = pieces_of(network, [position], SIDE)[position]
    with torch.inference_mode():
        network(torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
        alone = piece.layer(*piece.inputs)
    first = [out[0] if isinstance(out, tuple) else out for out in (seen["out"], alone)]
    assert torch.allclose(first[0], first[1], atol=1e-5)
    feed = {f"input{n}": x.numpy() for n, x in enumerate(piece.inputs)}
    by_onnx = torch.from_numpy(session(piece_graph(piece.layer, piece.inputs), 1).run(None, feed)[0])
    assert torch.allclose(first[1], by_onnx, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_pieces_are_timed_by_name(runtime: str) -> None:
    changes = (Change(8, "slim-50"), Change(8, "ghost"))
    parts = pieces(layout("yolov8n", 3), changes, SIDE)
    assert set(parts) == {"8 stage", "8 slim-50", "8 downsampling", "8 ghost"}
    assert parts["8 stage"].inputs[0].shape == parts["8 slim-50"].inputs[0].shape == (1, 384, 2, 2)
    found = time_pieces(parts, "cpu", runtime, n_threads=2, rounds=2)
    assert set(found.latency) == set(parts)
    assert all(one.ms > 0 and one.all_ms is not None for one in found.latency.values())
    assert found.runtime.startswith("onnxruntime " if runtime == "onnx" else "torch ")


def test_the_library_is_written_for_another_device(tmp_path: Path) -> None:
    """Every file runs; the csv file, filled in, is what a search takes."""
    result = api.export("yolov8n", out=tmp_path, imgsz=SIDE, library=True, moves="light-head")
    base = layout("yolov8n")
    changes = changeable(base, ("light-head",))
    names = piece_names(changes)
    assert set(result.files) == {*names, "table"}
    assert all(Path(file).stat().st_size > 0 for file in result.files.values())
    assert position_of(base, Change(HEAD, "light-head")) == 22
    for name in ("head head", "head light-head"):
        given = session(Path(result.files[name]).read_bytes(), 1).get_inputs()
        assert [one.name for one in given] == ["input0", "input1", "input2"]
    lines = (tmp_path / TABLE).read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    (tmp_path / "filled.csv").write_text("\n".join([lines[0], *(f"{line}1.5" for line in lines[1:])]))
    table = read_table(tmp_path / "filled.csv", changes)
    assert set(table) == set(names)
    assert {part_key(one) for one in changes} | {piece_key(one) for one in changes} < set(names)


def test_a_library_of_unknown_moves_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(EffscopeError, match="unknown `moves` 'prune'"):
        api.export("yolov8n", out=tmp_path / "x", library=True, moves="prune")
    assert not (tmp_path / "x").exists()
