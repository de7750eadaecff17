"""Time of single layers of networks, each alone: what a part costs where the model is deployed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from effscope.config.image_size import image_shape
from effscope.errors import EffscopeError
from effscope.exporting.onnx_graph import piece_graph, session
from effscope.nn.build import Network
from effscope.nn.fuse import deploy
from effscope.nn.precision import pick_device
from effscope.progress import Progress, Say, silent, unsaid
from effscope.timing.in_turn import Pass, Timed, measured, named

ROUNDS = 30


@dataclass(frozen=True)
class Piece:
    """A layer of a network in deploy form, and the maps that it reads.

    Attributes:
        layer: the layer; it takes the maps in order.
        inputs: tensors (1, c, h, w).
    """

    layer: nn.Module
    inputs: tuple[Tensor, ...]


def pieces_of(network: Network, positions: Iterable[int], imgsz: int) -> dict[int, Piece]:
    """Layers of a network in deploy form, with what they read when the network sees one image of `imgsz` px."""
    wanted, found = set(positions), {}
    fused = deploy(network).cpu()

    def keep(position: int, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found[position] = Piece(layer, tuple(tensor.clone() for tensor in inputs))

    hooks = [fused.model[str(n)].register_forward_pre_hook(partial(keep, n)) for n in wanted]
    with torch.inference_mode():
        fused(torch.rand(image_shape(imgsz), generator=torch.Generator().manual_seed(0)))
    for hook in hooks:
        hook.remove()
    return found


def time_pieces(
    pieces: Mapping[str, Piece],
    device: str = "auto",
    runtime: str = "onnx",
    n_threads: int = 1,
    progress: Progress = silent,
    say: Say = unsaid,
    rounds: int = ROUNDS,
) -> Timed:
    """Time pieces in turn, in float32; arguments and threads as in `in_turn`.

    With `runtime` onnx a piece that cannot be exported is left out, and `say` is called with the reason.
    """
    if runtime == "torch":
        chosen = pick_device(device)
        passes = {
            name: partial(_pass, piece.layer.to(chosen), [x.to(chosen) for x in piece.inputs])
            for name, piece in pieces.items()
        }
        return measured(lambda _: passes, chosen, named("torch"), n_threads, rounds)
    graphs = {}
    for n, (name, piece) in enumerate(pieces.items()):
        progress(n / len(pieces), f"exporting {name}")
        try:
            graphs[name] = piece_graph(piece.layer, piece.inputs)
        except EffscopeError as error:
            say(f"{name} is not timed: {error}")
    feeds = {name: {f"input{n}": x.numpy() for n, x in enumerate(piece.inputs)} for name, piece in pieces.items()}

    def sessions(threads: int) -> dict[str, Pass]:
        return {name: partial(session(data, threads).run, None, feeds[name]) for name, data in graphs.items()}

    return measured(sessions, torch.device("cpu"), named("onnxruntime"), n_threads, rounds)


@torch.inference_mode()
def _pass(layer: nn.Module, inputs: list[Tensor]) -> object:
    return layer(*inputs)
