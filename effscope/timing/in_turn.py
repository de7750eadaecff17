"""Time of the forward pass of several networks, in turn: in onnxruntime as deployed, or in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from effscope.config.image_size import image_shape
from effscope.errors import EffscopeError
from effscope.exporting.onnx_graph import checked_graph, image_feed, session
from effscope.nn.build import Network
from effscope.nn.fuse import deploy
from effscope.nn.precision import pick_device
from effscope.progress import Say, unsaid
from effscope.results import Latency, version
from effscope.timing.clock import Spread, by_turns, call_ms, threads
from effscope.training.threads import busy

ROUNDS = 40
FORWARD = "forward"

Pass = Callable[[], object]


@dataclass(frozen=True)
class Timed:
    """Latency of each network, what measured it, and with how many threads at most (1 on a GPU)."""

    latency: dict[str, Latency]
    runtime: str
    threads: int = 1


def in_turn(
    networks: Mapping[str, Network],
    imgsz: int,
    device: str = "auto",
    runtime: str = "onnx",
    n_threads: int = 1,
    say: Say = unsaid,
    rounds: int = ROUNDS,
) -> Timed:
    """Time one image in each network, in float32, deploy form, without suppression.

    The networks run in turn, so a short load on the machine affects all of them. On a CPU all are timed with one
    thread, then with `n_threads`.

    Args:
        networks: name -> network; not changed.
        imgsz: side of the image in px.
        device: as in `pick_device`.
        runtime: "onnx" (onnxruntime, on a CPU only) or "torch". If a network cannot be exported, torch times all.
        n_threads: number of all threads.
        say: called with the reason why torch times them.
        rounds: timed passes of each network.

    Raises:
        EffscopeError: `runtime` is onnx on a GPU.
    """
    chosen = pick_device(device)
    if runtime == "onnx" and chosen.type != "cpu":
        raise EffscopeError("`runtime` onnx runs on the CPU: set `device` to cpu or `runtime` to torch")
    if runtime == "onnx":
        try:
            graphs = {name: checked_graph(network, (), imgsz)[0] for name, network in networks.items()}
        except EffscopeError as error:
            say(f"latency is measured in torch, not in onnxruntime: {error}")
        else:
            return graphs_in_turn({name: (data, imgsz) for name, data in graphs.items()}, n_threads, rounds)
    image = _image(imgsz).to(chosen)
    passes = {name: partial(_pass, deploy(network).to(chosen), image) for name, network in networks.items()}
    return measured(lambda _: passes, chosen, named("torch"), n_threads, rounds)


def graphs_in_turn(graphs: Mapping[str, tuple[bytes, int]], n_threads: int, rounds: int = ROUNDS) -> Timed:
    """Time ONNX graphs in onnxruntime on the CPU, in turn; name -> graph and the side of its image in px."""

    def sessions(n: int) -> dict[str, Pass]:
        opened = {name: (session(data, n), side) for name, (data, side) in graphs.items()}
        return {
            name: partial(one.run, None, image_feed(one, _image(side).numpy())) for name, (one, side) in opened.items()
        }

    return measured(sessions, torch.device("cpu"), named("onnxruntime"), n_threads, rounds)


def measured(
    passes: Callable[[int], Mapping[str, Pass]], device: torch.device, runtime: str, n_threads: int, rounds: int
) -> Timed:
    """Time passes in turn; on a CPU with one thread, then with all.

    Args:
        passes: number of threads -> name -> a function that runs once.
        device: where they run.
        runtime: what runs them, in words.
        n_threads: number of all threads.
        rounds: timed calls of each.
    """
    if device.type == "cpu":
        return Timed(_on_cpu(passes, n_threads, rounds), runtime, n_threads)
    found = _spreads(passes(1), device, rounds)
    return Timed({name: Latency(one.median_ms, one.iqr_ms) for name, one in found.items()}, runtime)


def _on_cpu(passes: Callable[[int], Mapping[str, Pass]], n_threads: int, rounds: int) -> dict[str, Latency]:
    by_threads = {}
    for n in dict.fromkeys((1, n_threads)):
        with threads(n):
            by_threads[n] = _spreads(passes(n), torch.device("cpu"), rounds)
    one, every = by_threads[1], by_threads[n_threads]
    return {
        name: Latency(one[name].median_ms, one[name].iqr_ms, every[name].median_ms, every[name].iqr_ms) for name in one
    }


def _spreads(passes: Mapping[str, Pass], device: torch.device, rounds: int) -> dict[str, Spread]:
    jobs = {name: partial(_timed, run, device) for name, run in passes.items()}
    return {name: Spread.of(found[FORWARD]) for name, found in by_turns(jobs, rounds).items()}


def _timed(run: Pass, device: torch.device) -> dict[str, float]:
    return {FORWARD: call_ms(run, device)}


@torch.inference_mode()
def _pass(network: Network, image: torch.Tensor) -> object:
    return network(image)


def _image(imgsz: int) -> torch.Tensor:
    return torch.rand(image_shape(imgsz), generator=torch.Generator().manual_seed(0))


def slowed(n_threads: int) -> tuple[str, ...]:
    """A line if other processes need the cores of so many threads, else none. A steady load is not seen in a spread."""
    words = busy(n_threads)
    return (f"{words}; these times are longer than on a quiet machine",) if words else ()


def named(package: str) -> str:
    """A package with its version."""
    return f"{package} {version(package)}"
