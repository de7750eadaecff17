"""The folder of a run: which run it belongs to, which process writes there, and what is finished."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from effscope.config import BUILTIN_SHAPES, deciding
from effscope.differences import differences
from effscope.errors import EffscopeError
from effscope.files import make_folder, sweep, write_text
from effscope.progress import Say, leads, unsaid

T = TypeVar("T")

RUNS = Path("runs")
RUN_WEIGHTS = "model.safetensors"
"""Weights of the model that a run ends with."""

IDENTITY, LOCK, OWNER = "run.json", ".lock", ".owner.json"
WORK = "work"
"""Subfolder of a run's folder for the files of its jobs."""

TRACES = ("train.json", "search.json", RUN_WEIGHTS, "journal.jsonl")
"""Files that only a run writes. A folder that has one of them but no `run.json` is refused."""


def run_folder(kind: str, model: str, data: str, config: Any, out: str | Path | None) -> Path:
    """The folder of a run: `out`, or a folder under `runs/` with a name made from the settings.

    The same settings give the same name, so the same command finds its folder again.
    """
    if out is not None:
        return Path(out)
    settings = json.dumps(deciding(config), sort_keys=True)
    path = Path(data)
    subject = "shapes" if data == BUILTIN_SHAPES else path.resolve().parent.name if path.suffix else path.name
    tag = hashlib.sha256(f"{model} {settings}".encode()).hexdigest()[:6]
    return RUNS / f"{kind}-{'-'.join(Path(word).stem for word in model.split())}-{subject}-{tag}"


@dataclass(frozen=True)
class Identity:
    """What distinguishes a run from other runs.

    Attributes:
        kind: "training" or "search".
        settings: setting -> value (JSON data). With another value it is another run.
        inputs: name of an input, for messages (e.g. "the layout") -> digest. With another digest it is another run.
    """

    kind: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Workspace:
    """An open run folder. `open_workspace` yields it.

    Attributes:
        folder: the folder.
    """

    folder: Path

    def path(self, name: str) -> Path:
        """A file of the run that users read."""
        return self.folder / name

    def settled(self, name: str, choose: Callable[[], T]) -> T:
        """A fact of the machine (JSON data) that the first start of the run chooses; later starts get the same."""
        file = self.folder / IDENTITY
        record = _read(file)
        if name not in record["machine"]:
            record["machine"][name] = choose()
            write_text(file, json.dumps(record, indent=1) + "\n")
        value: T = record["machine"][name]
        return value

    def artefact(self, job: str, suffix: str) -> Path:
        """A file that the job with this id writes, e.g. its weights. The folder exists."""
        make_folder(self.folder / WORK)
        return self.folder / WORK / f"{job}{suffix}"

    @property
    def has_work(self) -> bool:
        """Whether there are files of jobs."""
        return (self.folder / WORK).is_dir()

    def clear(self) -> int:
        """Delete the files of all jobs. Returns how many bytes they had. A file in use by another program stays."""
        place = self.folder / WORK
        size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
        shutil.rmtree(place, ignore_errors=True)
        return size

    def keep(self, job: str, facts: Mapping[str, Any], files: tuple[Path, ...] = ()) -> None:
        """Record that a job is finished.

        The record is a JSON file next to the job's artefacts. It is written last, so a job without a record is
        unfinished.

        Args:
            job: its id.
            facts: its results and notes, as JSON data.
            files: its artefacts. The job counts as finished only while each exists with the size that it has now.

        Raises:
            EffscopeError: the record cannot be written.
        """
        sizes = {file.name: file.stat().st_size for file in files}
        write_text(self.artefact(job, ".json"), json.dumps({"facts": facts, "files": sizes}, indent=1) + "\n")

    def kept(self, job: str) -> dict[str, Any] | None:
        """The facts that `keep` recorded; None if the job is unfinished, or a file is missing or truncated."""
        try:
            record = json.loads((self.folder / WORK / f"{job}.json").read_text(encoding="utf-8"))
            whole = all((self.folder / WORK / name).stat().st_size == size for name, size in record["files"].items())
            facts: dict[str, Any] = record["facts"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return facts if whole else None


@contextmanager
def open_workspace(folder: Path, identity: Identity, say: Say = unsaid) -> Iterator[Workspace]:
    """Lock a run's folder, check that it belongs to this run, and yield it.

    If several processes were started together, the first one locks and writes; the others only check.

    Args:
        folder: created if it does not exist.
        identity: the run that uses it.
        say: called if the last process in the folder ended without finishing.

    Raises:
        EffscopeError: another process uses the folder, the folder holds another run, or it is not writable.
    """
    make_folder(folder)
    with _locked(folder, say) if leads() else nullcontext():
        _claim(folder, identity)
        yield Workspace(folder)


@contextmanager
def _locked(folder: Path, say: Say) -> Iterator[None]:
    from filelock import FileLock, Timeout  # noqa: PLC0415 - opening models does not need it

    lock, owner = FileLock(folder / LOCK), folder / OWNER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise EffscopeError(
            f"{folder} is in use by {_named(owner)}: wait until it ends, or choose another `out`"
        ) from None
    except OSError as error:
        raise EffscopeError(f"cannot write to {folder}: {error.strerror or error}; choose another `out`") from None
    try:
        if owner.exists():
            say(f"{folder}: {_named(owner)} ended without finishing; this process continues its run")
        facts = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        write_text(owner, json.dumps(facts) + "\n")
        for place in (folder, folder / WORK):
            sweep(place)
        yield
    finally:  # only a killed process leaves its owner file behind
        with suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


def _named(owner: Path) -> str:
    try:
        facts = json.loads(owner.read_text(encoding="utf-8"))
        return f"process {facts['pid']} on {facts['host']} (since {facts['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _claim(folder: Path, identity: Identity) -> None:
    """Store or check the identity of the folder."""
    file = folder / IDENTITY
    found = _read(file) if file.exists() else None
    wanted = json.loads(
        json.dumps({"run": identity.kind, "settings": dict(identity.settings), "inputs": dict(identity.inputs)})
    )
    if found is None:
        strangers = [name for name in TRACES if (folder / name).exists()]
        if strangers:
            raise EffscopeError(
                f"{folder} holds {strangers[0]} of another run, or of an earlier version: choose another `out` or "
                "delete it"
            )
    elif found["run"] != identity.kind:
        raise EffscopeError(f"{folder} holds a {found['run']}: choose another `out` or delete it")
    else:
        differing = [f"`{name}`" for name in differences(found["settings"], wanted["settings"])]
        differing += differences(found["inputs"], wanted["inputs"])
        if differing and not _untouched(folder):
            names = " and ".join(", ".join(differing).rsplit(", ", 1))
            verb = "differs" if len(differing) == 1 and not names.endswith("s") else "differ"  # "the val images"
            raise EffscopeError(
                f"{folder} holds another {identity.kind}: {names} {verb}; choose another `out` or delete it"
            )
        if not differing:
            return
    if leads():
        write_text(file, json.dumps({**wanted, "machine": {}}, indent=1) + "\n")


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        parts = (found["settings"], found["inputs"], found["machine"])
        if isinstance(found["run"], str) and all(isinstance(part, dict) for part in parts):
            return found
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise EffscopeError(f"{file} is damaged or of another version: choose another `out`, or delete the folder")


def _untouched(folder: Path) -> bool:
    """Whether the run that claimed the folder has done nothing yet."""
    work = folder / WORK
    nothing = not work.is_dir() or not any(work.iterdir())
    return nothing and {path.name for path in folder.iterdir()} <= {IDENTITY, LOCK, OWNER, WORK}
