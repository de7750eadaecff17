"""Weights files with random damage are read, or refused in one line, quickly, and nothing in them runs."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.damaged_code import CANARY, MARK
from support.fuzzing import CALLS, PROGRESS, SEED, SOUND, Score, damaged_file, faults, fuzz
from support.heavy_files import HEAVY
from support.sound_files import FORMATS, SLOW_FORMATS, Sound, sound_files

N_FILES, N_FEW = 10_000, 300
N_PROCESSES = 2
TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> list[Sound]:
    return sound_files(tmp_path_factory.mktemp("sound"), slow=False)


def check(score: Score) -> None:
    """Print the score; fail with the numbers of the files that did what they should not."""
    print(f"\n{score}\n{len(score.failures)} faults")
    assert not score.failures, "\n".join([f"{len(score.failures)} faults (seed {SEED}):", *score.failures])
    assert set(score.read) == set(score.refused)


def test_damaged_files(sounds: list[Sound], tmp_path: Path) -> None:
    score = Score()
    fuzz(sounds, range(N_FEW), tmp_path, score)
    check(score)
    assert score.n_files == N_FEW and set(score.read) == set(FORMATS)


def test_the_same_number_makes_the_same_file(sounds: list[Sound], tmp_path: Path) -> None:
    for number in range(2 * len(sounds)):
        first = (*damaged_file(sounds, number, tmp_path), contents(tmp_path))
        assert (*damaged_file(sounds, number, tmp_path), contents(tmp_path)) == first


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_watch_sees_code_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees an import by name, a file that is made, a module that stays, another process, and text."""
    code = f"import {CANARY}, subprocess; print('hello'); subprocess.run(['true'])"
    (tmp_path / f"{CANARY}.py").write_text(f"open({MARK!r}, 'w').write('imported')")
    (tmp_path / "damaged.pt").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(CALLS, "read", lambda path: exec(code, {}))
    for call in ("cost", "rank"):
        monkeypatch.setitem(CALLS, call, lambda path: None)
    seen = "\n".join(faults(tmp_path / "damaged.pt")[2])
    del sys.modules[CANARY]
    for said in ("import", "exec", "open 'mark' w", "subprocess.Popen", "print 'hello"):
        assert f"read: did {said}" in seen, seen
    assert "made 'mark'" in seen and f"imported {CANARY}" in seen


def process(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A Python process that finds the modules of the tests."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{TESTS}:{folder}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def work(first: int, end: int, folder: Path, sounds: Sequence[Sound]) -> Score:
    """The score of these files, read in processes of their own. A new one goes on behind a file that ends one."""
    folder.mkdir()
    (folder / SOUND).write_bytes(pickle.dumps(sounds))
    total = Score()
    while first < end:
        (folder / PROGRESS).write_text(json.dumps([first, {}, {}, {}, []]))
        done = process(["-m", "support.fuzzing", str(first), str(end), str(folder)], folder)
        number, *score = json.loads((folder / PROGRESS).read_text())
        total.add(*score)
        if number < end:
            said = f"the process ended ({done.returncode}): {done.stderr[-800:]}"
            total.failures.append(f"number {number}, {sounds[number % len(sounds)].name}: {said}")
        first = number + 1
    return total


@pytest.mark.slow
def test_many_damaged_files(tmp_path: Path) -> None:
    made = tmp_path / "sound"
    made.mkdir()
    sounds = sound_files(made, slow=True)
    parts = [range(N_FILES)[n * N_FILES // N_PROCESSES : (n + 1) * N_FILES // N_PROCESSES] for n in range(N_PROCESSES)]
    score = Score()
    with ThreadPoolExecutor(N_PROCESSES) as pool:
        jobs = [pool.submit(work, part.start, part.stop, tmp_path / str(part.start), sounds) for part in parts]
        for job in jobs:
            found = job.result()
            score.add(found.read, found.refused, found.unranked, found.failures)
    check(score)
    assert score.n_files > N_FILES - 20 and set(score.read) == {*FORMATS, *SLOW_FORMATS}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEAVY)
def test_small_files_that_ask_for_much(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    done = process(["-m", "support.heavy_files", name, str(tmp_path)], tmp_path)
    assert done.returncode == 0, done.stderr[-800:]
