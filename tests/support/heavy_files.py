"""Small files that ask for much: long code, tables of empty lists, ONNX functions that call each other.

`python -m support.heavy_files NAME FOLDER`, in the folder of the tests, writes one and reads it with limits of time and
memory.
"""

from __future__ import annotations

import faulthandler
import resource
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from effscope.checkpoint.read import read_checkpoint
from effscope.errors import EffscopeError
from support.sound_files import exported_by_hand, out, traced

MOST_CPU_SECONDS, MOST_BYTES = 20, 2**30


def with_entry(write: Callable[[Path], object], path: Path, end: str, edit: Callable[[str], str]) -> None:
    """The file with another text in the entry whose name ends so."""
    write(path)
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in held.items():
            archive.writestr(name, edit(data.decode()) if name.endswith(end) else data)


def statements(path: Path) -> None:
    """Each class begins with a line of many statements."""
    line = "  " + "a;" * 120_000 + "a\n"
    with_entry(traced, path, ".py", lambda text: text.replace("(Module):\n", f"(Module):\n{line}", 1))


def open_heads(path: Path) -> None:
    heads = "".join(f"class A{n}(Module):\n  __parameters__ = [\n" for n in range(40_000))
    with_entry(traced, path, "/conv.py", lambda text: f"{text}\n{heads}")


def local_names(path: Path) -> None:
    """A class with many calls of local names before that of the layer."""
    lines = "".join(f"    x{n} = f{n}(x)\n" for n in range(3_000))
    with_entry(traced, path, "/conv.py", lambda text: text.replace("  def ", f"  def a(self):\n{lines}  def ", 1))


def empty_lists(path: Path) -> None:
    def edit(text: str) -> str:
        return text[:-1] + ', "x": [' + "[]," * 15_000_000 + "[]]}"

    with_entry(exported_by_hand, path, "weights_config.json", edit)


def graph(path: Path, nodes: list[Any], numbers: dict[str, Any], functions: list[Any]) -> None:
    """An ONNX graph of one convolution and these parts."""
    held = [numpy_helper.from_array(value, key) for key, value in numbers.items()]
    held.append(numpy_helper.from_array(np.ones((4, 3, 3, 3), "f4"), "c.weight"))
    first = helper.make_node("Conv", ["x", "c.weight"], ["y"], name="/c/Conv")
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    made = helper.make_graph([first, *nodes], "g", [out("x")], [out("y")], held)
    onnx.save(helper.make_model(made, opset_imports=sets, functions=functions), path)


def functions(path: Path) -> None:
    """Each local function calls the one before it twice."""
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    made = [helper.make_function("own", "F0", ["i"], ["o"], [helper.make_node("Relu", ["i"], ["o"])], sets)]
    for n in range(24):
        twice = [
            helper.make_node(f"F{n}", [source], [target], domain="own") for source, target in (("i", "a"), ("a", "o"))
        ]
        made.append(helper.make_function("own", f"F{n + 1}", ["i"], ["o"], twice, sets))
    graph(path, [helper.make_node("F24", ["y"], ["z"], domain="own")], {}, made)


def turned_copies(path: Path) -> None:
    """One matrix that many products read, each under another name."""
    nodes = [helper.make_node("MatMul", ["y", "t"], [f"m{n}"], name=f"/n{n}/MatMul") for n in range(1_000)]
    graph(path, nodes, {"t": np.ones((500, 500), "f4")}, [])


def dequantised_copies(path: Path) -> None:
    nodes = [helper.make_node("DequantizeLinear", ["t", "s"], [f"m{n}"]) for n in range(500)]
    graph(path, nodes, {"t": np.ones((1_000, 1_000), "i1"), "s": np.ones((), "f4")}, [])


HEAVY: dict[str, Callable[[Path], None]] = {
    "statements": statements,
    "open_heads": open_heads,
    "local_names": local_names,
    "empty_lists": empty_lists,
    "functions": functions,
    "turned_copies": turned_copies,
    "dequantised_copies": dequantised_copies,
}
"""Name -> what writes the file."""


def main(name: str, folder: Path) -> None:
    """Write a file and read it with a limit of time; end with an error if the memory passes its limit."""
    path = folder / "heavy.bin"
    HEAVY[name](path)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory from here on
    used = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime) + MOST_CPU_SECONDS
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CPU, (used, used + 5))
    resource.setrlimit(resource.RLIMIT_AS, (8 * MOST_BYTES, resource.RLIM_INFINITY))
    try:
        read_checkpoint(path)
    except EffscopeError as error:
        if "does not fit in memory" in str(error):
            sys.exit("it asked for too much memory")
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    if peak > MOST_BYTES:
        sys.exit(f"the memory of the process reached {peak / 2**20:.0f} MiB")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
