"""Damaged weights files by number: each one is read or refused in one line, and nothing in it runs.

`python -m support.fuzzing FIRST END FOLDER`, in the folder of the tests, reads them in a process of its own, with
limits of time and memory. FOLDER has the intact files, pickled, under the name `sound`.
"""

from __future__ import annotations

import codecs
import contextlib
import faulthandler
import json
import pickle
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import effscope
from effscope.checkpoint.read import read_checkpoint
from effscope.errors import EffscopeError
from support.damage import damages
from support.damaged_code import CANARY, MARK
from support.sound_files import BESIDE, Sound
from support.watching import watched

SEED = 11
MOST_SECONDS = 10
MOST_BYTES = 2**30
SOUND, PROGRESS = "sound", "progress"
CODECS = ("utf-8-sig", "cp437", *(f"utf-{n}{order}" for n in (16, 32) for order in ("", "-le", "-be")))
"""Codecs of texts in zip files and JSON. Python imports them at their first use."""

CALLS: dict[str, Callable[[Path], object]] = {
    "read": read_checkpoint,
    "cost": lambda path: effscope.cost(str(path)),
    "rank": lambda path: effscope.rank(str(path), at="all"),
}
"""The way of a file, as a user goes it."""


@dataclass
class Score:
    """What became of the files, by format; and what should not have happened."""

    read: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unranked: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, read: dict[str, int], refused: dict[str, int], unranked: dict[str, int], failures: list[str]) -> None:
        for own, other in ((self.read, read), (self.refused, refused), (self.unranked, unranked)):
            own.update(other)
        self.failures += failures

    @property
    def n_files(self) -> int:
        return sum((self.read + self.refused).values())

    def __str__(self) -> str:
        rows = ["format                        files   read  refused  read, but refused by rank or cost"]
        total = ("all", sum(self.read.values()), sum(self.refused.values()), sum(self.unranked.values()))
        each = [(name, self.read[name], self.refused[name], self.unranked[name]) for name in self.read | self.refused]
        rows += [f"{n:28} {a + b:6} {a:6} {b:8} {c:6}" for n, a, b, c in [*sorted(each), total]]
        return "\n".join(rows)


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


def place_of(error: Exception) -> str:
    """The last line of effscope that an error passed."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if "/effscope/" in frame.filename), frames[-1])
    return f"{Path(frame.filename).name}:{frame.name}"


def followed(call: str, path: Path) -> tuple[str | None, list[str]]:
    """The refusal of a call, or None; and what should not have happened."""
    refusal, fault = None, None
    signal.setitimer(signal.ITIMER_PROF, 2 * MOST_SECONDS)
    start = time.process_time()
    with watched(path.parent) as seen:
        try:
            CALLS[call](path)
        except EffscopeError as error:
            refusal = str(error)
        except Exception as error:  # the fault that is looked for
            refusal, fault = "", error
    signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = time.process_time() - start
    found = [f"{type(fault).__name__} in {place_of(fault)}: {fault!s:.100}"] if fault else []
    found += [f"took {seconds:.1f} s"] if seconds > MOST_SECONDS else []
    found += [f"did {event}" for event in seen]
    if refusal and not refusal.isprintable():
        found.append(f"an error of many lines: {refusal!r:.200}")
    if refusal and "does not fit in memory" in refusal:
        found.append("asked for too much memory")
    return refusal, [f"{call}: {what}" for what in found]


def faults(path: Path) -> tuple[bool, bool, list[str]]:
    """Whether the file is refused, whether rank or cost refuses it later, and what should not have happened."""
    folder, modules, place = path.parent, set(sys.modules), Path.cwd()
    kept = {path.name, BESIDE, PROGRESS, SOUND, f"{CANARY}.py"}
    refusal, found = followed("read", path)
    later = [] if refusal is not None else [followed(call, path) for call in ("cost", "rank")]
    found += [what for _, each in later for what in each]
    found += [f"made {each.name!r}" for each in folder.iterdir() if each.name not in kept]
    found += [f"imported {name}" for name in sorted(set(sys.modules) - modules)]
    found += ["changed the working directory"] if Path.cwd() != place else []
    return refusal is not None, any(message is not None for message, _ in later), found


def warm_up(sounds: Sequence[Sound], folder: Path) -> None:
    """Read the intact files, which imports all of effscope that a damaged one may need."""
    for sound in sounds:
        path = folder / f"intact{sound.suffix}"
        for name, data in {path.name: sound.data, **sound.beside}.items():
            (folder / name).write_bytes(data)
        for call in CALLS.values():
            call(path)
        path.unlink()
    for codec in CODECS:
        codecs.lookup(codec)


def fuzz(sounds: Sequence[Sound], numbers: Iterable[int], folder: Path, score: Score) -> None:
    """Read the damaged files of these numbers, with the folder as working directory and on the path of modules."""
    (folder / f"{CANARY}.py").write_text(f"open({MARK!r}, 'w').write('imported')\n")
    sys.path.insert(0, str(folder))
    try:
        with contextlib.chdir(folder):
            warm_up(sounds, folder)
            for number in numbers:
                sound, kind, path = damaged_file(sounds, number, folder)
                refused, unranked, found = faults(path)
                path.unlink()
                (score.refused if refused else score.read)[sound.name] += 1
                score.unranked[sound.name] += unranked
                score.failures += [f"number {number}, {sound.name}, {kind}: {what}" for what in found]
    finally:
        sys.path.remove(str(folder))


# -- a process of its own ----------------------------------------------------------------------------------------------


def announced(numbers: range, folder: Path, score: Score) -> Iterator[int]:
    """The numbers, each one written down with the score so far before its file is read.

    The process ends if its memory passes the limit.
    """
    for number in (*numbers, numbers.stop):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if peak > MOST_BYTES:
            sys.exit(f"the memory of the process reached {peak / 2**20:.0f} MiB")
        progress = json.dumps([number, score.read, score.refused, score.unranked, score.failures])
        (folder / PROGRESS).write_text(progress)
        if number in numbers:
            yield number


def main(first: int, end: int, folder: Path) -> None:
    """Read the files. One that takes too long ends the process, with a traceback."""
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)
    sounds = pickle.loads((folder / SOUND).read_bytes())
    warm_up(sounds, folder)
    lines = Path("/proc/self/status").read_text().splitlines()
    used = next(int(line.split()[1]) for line in lines if line.startswith("VmSize")) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, resource.RLIM_INFINITY))
    score = Score()
    fuzz(sounds, announced(range(first, end), folder, score), folder, score)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
