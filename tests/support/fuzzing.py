"""Damaged weights files by number: each one is read or refused in one line, and nothing in it runs.

`python -m support.fuzzing FIRST END FOLDER` in tests reads them in a process of its own, with limits of time and memory.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import effscope
from effscope.checkpoint.read import read_checkpoint
from effscope.errors import EffscopeError
from support.damage import damages
from support.damaged_code import CANARY, MARK
from support.sound_files import BESIDE, Sound, sound_files

SEED = 11
MOST_SECONDS = 10
MOST_BYTES = 2**30
CANARY_CODE = f"open({MARK!r}, 'w').write('imported')\n"
FORBIDDEN = (
    "os.", "shutil.", "subprocess.", "socket.", "ctypes.", "exec", "import", "pickle.find_class", "code.__new__",
    "marshal.", "webbrowser.", "urllib.", "signal.", "mmap.", "sqlite3.", "pty.", "sys.settrace", "sys.setprofile",
)  # fmt: skip
"""Beginnings of the names of audit events that reading a file never raises, once all of effscope is imported."""

HARMLESS = ("os.listdir", "os.scandir", "mmap.__new__")


@dataclass
class Score:
    """What became of the files, by format; and what should not have happened."""

    read: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unranked: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Score) -> None:
        self.read += other.read
        self.refused += other.refused
        self.unranked += other.unranked
        self.failures += other.failures

    @property
    def n_files(self) -> int:
        return sum((self.read + self.refused).values())

    def __str__(self) -> str:
        rows = ["format                        files   read  refused  read, but refused by rank or cost"]
        total = ("all", sum(self.read.values()), sum(self.refused.values()), sum(self.unranked.values()))
        each = [(name, self.read[name], self.refused[name], self.unranked[name]) for name in self.read | self.refused]
        rows += [f"{n:28} {a + b:6} {a:6} {b:8} {c:6}" for n, a, b, c in [*sorted(each), total]]
        return "\n".join(rows)


# -- watching ----------------------------------------------------------------------------------------------------------

_watched: list[tuple[Path, list[str]]] = []
"""The folder of the files, and the events seen, while a file is read."""


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _watched:
        return
    folder, seen = _watched[-1]
    if event == "open":
        path, mode = str(args[0]), args[1]
        wrote = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        ours = path.startswith((str(folder), sys.prefix, sys.base_prefix, "/proc/", "/sys/")) or path.isdigit()
        if wrote or not (ours or path == "<unknown>"):  # Python looks there for the text of a syntax error
            seen.append(f"open {args[:2]}")
    elif event.startswith(FORBIDDEN) and event not in HARMLESS:
        seen.append(f"{event} {args[:1]!r:.80}")


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """The events of running code, importing and writing while a file is read. A hook of Python cannot be removed."""
    if not getattr(sys, "_effscope_watch", False):
        sys.addaudithook(_hook)
        sys._effscope_watch = True  # type: ignore[attr-defined]
    seen: list[str] = []
    _watched.append((folder, seen))
    try:
        yield seen
    finally:
        _watched.pop()


# -- one file ----------------------------------------------------------------------------------------------------------


def damaged_file(sounds: Sequence[Sound], number: int, folder: Path) -> tuple[Sound, str, Path]:
    """The damaged file of a number: its format, the kind of damage, and where it was written."""
    rng = random.Random(f"{SEED}-{number}")
    sound = sounds[number % len(sounds)]
    damage = rng.choice(damages(sound))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, on repeated names
        data, beside = damage(sound, rng)
    (folder / BESIDE).unlink(missing_ok=True)
    for name, content in beside.items():
        (folder / name).write_bytes(content)
    path = folder / f"damaged{sound.suffix}"
    path.write_bytes(data)
    return sound, damage.__name__, path


def refusal(function: Any, *args: Any, **options: Any) -> str | None:
    """The error of one line of a call, or None. Other exceptions go on."""
    try:
        function(*args, **options)
    except EffscopeError as error:
        return str(error)
    return None


def faults(path: Path, folder: Path) -> tuple[str | None, bool, list[str]]:
    """Whether the file is refused, whether rank or cost refuses it later, and what should not have happened."""
    modules, place, found = set(sys.modules), Path.cwd(), []
    messages: list[str | None] = []
    for name, call in (
        ("read", lambda: refusal(read_checkpoint, path)),
        ("cost", lambda: refusal(effscope.cost, str(path))),
        ("rank", lambda: refusal(effscope.rank, str(path), at="all")),
    ):
        signal.setitimer(signal.ITIMER_PROF, 2 * MOST_SECONDS)
        start, said = time.process_time(), io.StringIO()
        try:
            with watched(folder) as seen, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                messages.append(call())
        except Exception as error:  # the fault that is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            place_of_error = next(
                (f for f in reversed(traceback.extract_tb(error.__traceback__)) if "effscope/" in f.filename), where
            )
            found.append(
                f"{name}: {type(error).__name__}: {error!s:.150} at {Path(place_of_error.filename).name}:{place_of_error.lineno}"
            )
            messages.append("")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        message, seconds = messages[-1], time.process_time() - start
        if seconds > MOST_SECONDS:
            found.append(f"{name}: took {seconds:.1f} s")
        found += [f"{name}: did {event}" for event in seen]
        found += [f"{name}: said {said.getvalue()!r:.200}"] if said.getvalue() else []
        found += [f"{name}: error of many lines {message!r:.200}"] if message and not message.isprintable() else []
        found += [f"{name}: {message:.200}"] if message and "does not fit in memory" in message else []
        if messages[0] is not None:
            break
    left = [str(p) for p in folder.iterdir() if p.name not in (path.name, BESIDE, f"{CANARY}.py", "progress")]
    found += [f"made {name}" for name in left]
    found += [f"imported {name}" for name in sorted(set(sys.modules) - modules)]
    found += ["changed the folder"] if Path.cwd() != place else []
    return messages[0], any(message is not None for message in messages[1:]), found


def warm_up(sounds: Sequence[Sound], folder: Path) -> None:
    """Read the intact files, which imports all of effscope that a damaged one may need."""
    for sound in sounds:
        path = folder / f"sound{sound.suffix}"
        for name, data in {path.name: sound.data, **sound.beside}.items():
            (folder / name).write_bytes(data)
        effscope.cost(str(path))
        effscope.rank(str(path), at="all")
        path.unlink()
    (folder / "sound.txt").write_text("no weights")  # its refusal imports a codec
    refusal(read_checkpoint, folder / "sound.txt")
    (folder / "sound.txt").unlink()


def fuzz(sounds: Sequence[Sound], numbers: Iterator[int] | range, folder: Path) -> Score:
    """Read the damaged files of these numbers, with `folder` as the working directory and on the path of modules."""
    score = Score()
    (folder / f"{CANARY}.py").write_text(CANARY_CODE)
    with contextlib.chdir(folder):
        sys.path.insert(0, str(folder))
        try:
            warm_up(sounds, folder)
            for number in numbers:
                sound, kind, path = damaged_file(sounds, number, folder)
                refused, unranked, found = faults(path, folder)
                path.unlink()
                (score.read if refused is None else score.refused)[sound.name] += 1
                score.unranked[sound.name] += unranked
                score.failures += [f"number {number}, {sound.name}, damage {kind}: {what}" for what in found]
        finally:
            sys.path.remove(str(folder))
    return score


# -- a process of its own ----------------------------------------------------------------------------------------------


def announced(numbers: range, folder: Path) -> Iterator[int]:
    """The numbers, each one written down before its file is read; the end, if memory passes the limit."""
    for number in numbers:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if peak > MOST_BYTES:
            sys.exit(f"the memory reached {peak / 2**20:.0f} MiB")
        (folder / "progress").write_text(str(number))
        yield number


def main(first: int, end: int, folder: Path) -> None:
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)  # the end of a file that takes too long, with its traceback
    sounds = sound_files(folder, slow=True)
    warm_up(sounds, folder)
    used = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmSize" in line).split()[1])
    resource.setrlimit(resource.RLIMIT_AS, (used * 1024 + MOST_BYTES, resource.RLIM_INFINITY))
    score = fuzz(sounds, announced(range(first, end), folder), folder)
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    print(json.dumps([score.read, score.refused, score.unranked, score.failures]))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    sys.stdout.flush()
    os._exit(0)
