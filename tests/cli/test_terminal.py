"""Progress: parts add up to the whole, and what the terminal shows of it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from effscope.api import progress_line
from effscope.cli.terminal import display
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import Network, build
from effscope.progress import Parts, duration
from effscope.training import speed
from effscope.training.processes import processes
from effscope.training.speed import training_images_per_s


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=6))
def test_parts_never_go_back_and_end_at_one(weights: list[float]) -> None:
    seen: list[float] = []
    parts = Parts(lambda fraction, text: seen.append(fraction), sum(weights))
    for weight in weights:
        tell = parts.part(weight, "x")
        for fraction in (0.0, 0.5, 1.0):
            tell(fraction, "working")
    assert all(a <= b + 1e-9 for a, b in pairwise(seen))
    assert seen[-1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (45, "45 s"), (60, "1:00"), (185, "3:05"), (3725, "1:02:05")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with display(quiet=True) as (progress, say):
        progress(0.5, "half")
        say("a line")
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_lines_with_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 100.0, 101.0, 200.0])
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: next(clock))
    with display(quiet=False) as (progress, say):
        say("plan: two things")
        progress(0.5, "half way")
        progress(0.51, "too soon to print again")
        progress(0.75, "three quarters")
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "plan: two things"
    assert "50 %" in shown[1] and "estimating" in shown[1] and "half way" in shown[1]
    assert "75 %" in shown[2] and "1:40 left" in shown[2]
    assert len(shown) == 3


def test_time_left_follows_the_speed_of_the_last_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the work in 100 s, then a tenth of that speed: another process has begun."""
    now = 0.0
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: now)
    with display(quiet=False) as (progress, _):
        for _ in range(6):
            progress(now / 200, "fast")
            now += 20.0
        for _ in range(5):
            now += 20.0
            progress(0.5 + (now - 120) / 2000, "slow")
    last = capsys.readouterr().err.splitlines()[-1]
    assert "55 %" in last and "15:00 left" in last


def test_time_left_begins_again_when_another_job_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 20.0, 40.0, 60.0, 160.0])
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: next(clock))
    with display(quiet=False) as (progress, _):
        progress(0.1, "reading")
        progress(0.9, "reading")
        progress(0.0, "training")
        progress(0.5, "training")
    shown = capsys.readouterr().err.splitlines()
    assert "estimating" in shown[2]
    assert "1:40 left" in shown[3]


def test_speed_leaves_the_network_alone() -> None:
    network = build(expand(layout("yolov8n", 2)))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert training_images_per_s(network, 64, 2, processes("cpu")) > 0
    assert all((value == before[key]).all() for key, value in network.state_dict().items())


def test_speed_is_measured_on_what_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, forward = list[int](), Network.forward
    monkeypatch.setattr(speed, "TIMED_SECONDS", 0.0)

    def limited(network: Network, images: Tensor) -> object:
        sizes.append(len(images))
        if len(images) > 2:
            raise MemoryError
        return forward(network, images)

    monkeypatch.setattr(Network, "forward", limited)
    network = build(expand(layout("yolov8n", 2)))
    assert training_images_per_s(network, 64, 8, processes("cpu")) > 0
    assert sizes == [8, 4, 2, 2, 2]
    monkeypatch.setattr(Network, "forward", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(EffscopeError, match="one image at a time"):
        training_images_per_s(network, 64, 8, processes("cpu"))
