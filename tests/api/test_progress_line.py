"""What a long call shows: where a bar appears by default, how it fits the terminal, how lines are wrapped."""

from __future__ import annotations

import io
import os
import re
import sys
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import effscope
from effscope.api import progress_line
from effscope.api.progress_line import Line, drawn, fitted, shortened, shown, wrapped
from effscope.progress import Progress, Say


class Screen(io.StringIO):
    """A terminal of some columns that wraps long lines, and reflows them when it is resized."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns

    def isatty(self) -> bool:
        return True

    def rows(self) -> list[str]:
        """The lines that a user sees; one that is longer than the terminal is wide is shown in several rows."""
        lines, at = [""], 0
        for sign in re.findall(r"\033\[\d*[AJ]|[^\033]", self.getvalue()):
            if sign == "\r":  # to the start of the row
                at -= at % self.columns
            elif sign == "\n":
                lines.append("")
                at = 0
            elif sign == "\033[J":
                lines[-1] = lines[-1][:at]
            elif sign.startswith("\033"):
                at -= int(sign[2:-1]) * self.columns
            else:
                lines[-1] = lines[-1][:at].ljust(at) + sign + lines[-1][at + 1 :]
                at += 1
        assert at >= 0
        return [line.rstrip() for line in lines]


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERM", raising=False)
    monkeypatch.setattr(progress_line, "SHOW_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(progress_line, "REDRAW_SECONDS", 0.0)
    monkeypatch.setattr(progress_line, "NOTEBOOK_SECONDS", 0.0)
    monkeypatch.setenv("COLUMNS", "80")


def used(progress: Progress, say: Say) -> None:
    progress(0.25, "working")
    say("a line")
    progress(0.5, "working on")


@pytest.mark.usefixtures("columns")
def test_a_terminal_gets_a_bar_and_a_file_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, expected in ((Screen(80), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with shown("auto", "auto") as callbacks:
            used(*callbacks)
        assert ("working on" in stream.getvalue()) is expected
        assert ("a line\n" in stream.getvalue()) is expected
    assert isinstance(stream, io.StringIO) and stream.getvalue() == ""


@pytest.mark.usefixtures("columns")
def test_none_is_silent_and_callbacks_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, seen, said = Screen(80), list[float](), list[str]()
    monkeypatch.setattr(sys, "stderr", screen)
    with shown(None, "auto") as callbacks:
        used(*callbacks)
    with shown(lambda fraction, _: seen.append(fraction), "auto") as callbacks:
        used(*callbacks)
    assert (screen.getvalue(), seen) == ("", [0.25, 0.5])
    with shown(None, said.append) as callbacks:
        used(*callbacks)
    assert (screen.getvalue(), said) == ("", ["a line"])
    with shown("auto", said.append) as callbacks:
        used(*callbacks)
    assert "working on" in screen.getvalue() and "a line" not in screen.getvalue() and said == ["a line"] * 2


@pytest.mark.usefixtures("columns")
def test_only_the_first_of_several_processes_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(80)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with shown("auto", "auto") as callbacks:
        used(*callbacks)
    assert screen.getvalue() == ""


@pytest.mark.usefixtures("columns")
def test_a_notebook_gets_it_in_the_output_of_its_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """With carriage returns alone, and at the end the cell shows only the lines."""
    shell = type("Shell", (type("ZMQInteractiveShell", (), {}),), {})()  # Colab's is a subclass
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with shown("auto", "auto") as callbacks:
        used(*callbacks)
    assert "\r" in out.getvalue() and "\033" not in out.getvalue() and err.getvalue() == ""
    seen = [last.rstrip() for line in out.getvalue().split("\n") for last in line.rsplit("\r", 1)[-1:]]
    assert seen == ["a line", ""]
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    with shown("auto", "auto") as callbacks:
        used(*callbacks)
    assert err.getvalue() == ""


@pytest.mark.usefixtures("columns")
def test_the_functions_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(80)
    monkeypatch.setattr(sys, "stderr", screen)
    effscope.zoo("yolov8")
    assert "counting yolov8" in screen.getvalue() and screen.rows() == [""]
    screen.truncate(0)
    effscope.zoo("yolov8n", progress=None)
    assert screen.getvalue().strip("\0") == ""


@pytest.mark.usefixtures("columns")
def test_what_came_too_soon_is_drawn_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that then says nothing for long is named, not the one before it."""
    monkeypatch.setattr(progress_line, "REDRAW_SECONDS", 0.02)
    screen = Screen(80)
    with drawn(screen, live=True) as line:
        line(0.1, "reading images 480/480")
        line(0.1, "measuring the speed")
        until = time.monotonic() + 5
        while "measuring" not in screen.getvalue() and time.monotonic() < until:
            time.sleep(0.01)
        assert "measuring the speed" in screen.rows()[-1]
    assert screen.rows() == [""]


@pytest.mark.usefixtures("columns")
@pytest.mark.parametrize("new", [90, 79, 60, 41, 27])
def test_a_resized_terminal_shows_no_rest_of_the_old_line(monkeypatch: pytest.MonkeyPatch, new: int) -> None:
    screen = Screen(80)
    line = Line(screen, live=True)
    line.say("the first line")
    line(0.5, "training: epoch 3/60  box 1.23 cls 0.98 dfl 1.10, and some words more")
    screen.columns = new
    monkeypatch.setenv("COLUMNS", str(new))
    line(0.6, "short")
    first, last = screen.rows()
    assert first == "the first line"
    assert last == fitted(0.6, "about 0 s left", "short", new - 1) and len(last) < new
    line.clear()
    assert screen.rows() == [first, ""]


words = st.lists(st.text("abcdefghij/.0123456789", min_size=1, max_size=40), min_size=0, max_size=12).map(" ".join)


@given(
    st.floats(0, 1),
    st.sampled_from(["estimating", "about 45 s left", "about 1:02:05 left"]),
    words,
    st.integers(5, 140),
)
def test_the_line_fits(fraction: float, left: str, text: str, room: int) -> None:
    line = fitted(fraction, left, text, room)
    assert len(line) <= room
    if room >= 40:
        assert f"{100 * fraction:3.0f} %  {left}" in line
        bar = line.split(" ")[0]
        assert set(bar) <= set("━╌") and len(bar) in progress_line.WIDTHS
        assert bar.count("━") == round(len(bar) * fraction)
    if len(text) <= room - 45:
        assert line.endswith(text)


@given(words, st.integers(0, 140))
def test_a_text_is_cut_between_words_or_within_a_path(text: str, room: int) -> None:
    short = shortened(text, room)
    assert len(short) <= max(room, 0)
    if short != text:
        assert short == "" or "…" in short
        for word, original in zip(short.split(), text.split(), strict=False):
            start, _, end = word.removesuffix("…").partition("…")
            assert original.startswith(start) and original.endswith(end)
            assert start == original or (end and "/" in original)


def test_a_line_of_80_columns_by_hand() -> None:
    text = "slim-50 at 4, 8: short training: epoch 3/10  box 1.23 cls 0.98 dfl 1.10"
    assert fitted(0.25, "about 17:03 left", text, 79) == (
        "━━╌╌╌╌╌╌  25 %  about 17:03 left  slim-50 at 4, 8: short training: epoch 3/10…"
    )
    path = "tracing /home/someone/projects/detectors/runs/train-yolov8n-bccd/model.safetensors"
    short = shortened(path, 40)
    assert short.startswith("tracing /home") and short.endswith("model.safetensors") and len(short) == 40
    assert fitted(1.0, "about 0 s left", "", 79, unicode=False) == "#" * 28 + " 100 %  about 0 s left"


@given(words, st.integers(20, 120))
def test_lines_are_wrapped_at_words(text: str, columns: int) -> None:
    made = wrapped(text, columns)
    assert made.split() == text.split()
    assert all(len(line) <= columns or len(line.split()) == 1 for line in made.splitlines())


@pytest.mark.usefixtures("columns")
def test_only_a_terminal_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "plan: " + "word " * 40
    screen, log = Screen(80), io.StringIO()
    Line(screen, live=True).say(long)
    Line(log, live=False).say(long)
    assert log.getvalue() == long + "\n"
    assert max(map(len, screen.getvalue().splitlines())) <= 80 and len(screen.getvalue().splitlines()) == 3
    assert os.environ["COLUMNS"] == "80"
