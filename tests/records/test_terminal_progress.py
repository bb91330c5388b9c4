"""Tests of the progress display on a terminal: what stays, what is redrawn, and a clean end."""

from __future__ import annotations

import functools
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from terminal import on_terminal, screen
from wsss.platform.records.progress import ProgressDisplay, ProgressLines
from wsss.platform.records.progress_file import progress_display

BEGIN = """
import signal, sys, time
from wsss.platform.records.terminal_progress import Terminal

display = Terminal()
display.plan(["shards", "train lpcam", "class maps on train", "class maps on val", "a", "b"])
display.start("shards")
display.finish(True)
display.start("train lpcam")
for step in range(6):
    display.update(f"epoch {step}", step, 6)
    time.sleep(0.15)
display.note("a remark that is far longer than the narrowest of the terminals here, in one line")
print("a warning", file=sys.stderr)
"""
MIDDLE = """
display.running(["trial 0001: tau 0.2, seed 0", "trial 0002: tau 0.3, seed 0"])
print("BESIDE", file=sys.stderr)
time.sleep(0.6)
"""
END = """
display.finish(False)
for title in ("class maps on train", "class maps on val", "a", "b"):
    display.start(title)
    display.finish(True)
print("the table")
"""
SPINNER = r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]"


@functools.cache
def run(script: str, columns: int = 80, **environment: str) -> str:
    """Return all that a script writes to a terminal; the same run happens once."""
    code, text = on_terminal([sys.executable, "-c", script], columns, environment)
    assert code == 0, text
    return text


def frames(text: str) -> list[str]:
    """Return the pictures that were drawn one after another, as plain text."""
    plain = re.sub(r"\x1b\[[0-9;?]*m", "", text)
    return re.split(r"\r?\x1b\[2K(?:\x1b\[1A\x1b\[2K)*", plain)


@pytest.mark.parametrize("columns", [30, 80])
def test_at_the_end_only_lines_of_done_steps_stay(columns: int) -> None:
    text = run(BEGIN + MIDDLE + END, columns)
    lines = screen(text.replace("BESIDE\r\n", ""))
    assert lines[0] == "✓ [1/6] shards  already there"
    assert lines[1].startswith("! [2/6] train lpcam  a remark that is far longer")
    assert lines[2] == "a warning"
    assert re.fullmatch(r"✓ \[2/6\] train lpcam  \d+\.\d s", lines[3])
    assert lines[4:] == [
        "✓ [3/6] class maps on train  already there",
        "✓ [4/6] class maps on val  already there",
        "✓ [5/6] a  already there",
        "✓ [6/6] b  already there",
        "the table",
    ]
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1, "the cursor is shown again"


@pytest.mark.parametrize("columns", [30, 80])
def test_the_running_step_has_a_bar_and_the_next_steps_follow(columns: int) -> None:
    drawn = [f for f in frames(run(BEGIN + MIDDLE + END, columns)) if "trial" in f]
    running, *coming = drawn[0].splitlines()
    assert re.match(rf"{SPINNER} \[2/6\] train", running)
    assert max(len(line) for line in drawn[0].splitlines()) <= columns
    assert ("━" in running) == (columns > 70)
    if columns > 70:
        assert re.search(r"epoch 5 .* 5/6 +[\d.]+/s  \d:\d\d left$", running)
    beside = [line for line in coming if "trial" in line]
    assert [line[:18] for line in beside] == ["    trial 0001: ta", "    trial 0002: ta"]
    assert coming[2:] == ["  class maps on train", "  class maps on val", "  a", "  and 1 more"]


def test_ctrl_c_leaves_the_lines_of_done_steps_and_the_cursor() -> None:
    script = (
        f"try:\n    exec({BEGIN + MIDDLE!r})\n    time.sleep(99)\nfinally:\n    display.close()"
    )

    sent: list[int] = []

    def interrupt(process: subprocess.Popen[bytes], text: str) -> None:
        if "BESIDE" in text and not sent:  # a second signal would end it while it closes
            sent.append(signal.SIGINT)
            process.send_signal(signal.SIGINT)

    code, text = on_terminal([sys.executable, "-c", script], seen=interrupt)
    assert code == -signal.SIGINT
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    before = screen(text.partition("Traceback")[0])
    assert [line[:7] for line in before[:3]] == ["✓ [1/6]", "! [2/6]", "a warni"]
    assert not any("trial" in line or "class maps" in line for line in before)


def test_a_copy_in_another_process_shows_nothing() -> None:
    """Ray Tune writes the callbacks of a sweep to a file, and with them the display."""
    script = BEGIN + "import pickle\nprint(type(pickle.loads(pickle.dumps(display))).__name__)"
    assert "ProgressDisplay" in run(script)


def test_colours_and_signs_are_those_of_the_terminal() -> None:
    assert "\x1b[32m" in run(BEGIN + MIDDLE + END, 80)
    plain = run(BEGIN + END, NO_COLOR="1", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert not re.search(r"\x1b\[3\d", plain)
    assert screen(plain)[0] == "+ [1/6] shards  already there"
    assert plain.isascii()


DISPLAY = (
    "from wsss.platform.records.progress_file import progress_display\n"
    "import sys\n"
    "with progress_display(sys.argv[1:] == ['quiet']) as display:\n"
    "    print(type(display.inner).__name__)"
)


def test_only_a_terminal_that_can_redraw_gets_a_drawn_display() -> None:
    words = [sys.executable, "-c", DISPLAY]
    assert on_terminal(words)[1].strip() == "Terminal"
    assert on_terminal([*words, "quiet"])[1].strip() == "ProgressDisplay"
    assert on_terminal(words, environment={"TERM": "dumb"})[1].strip() == "ProgressLines"
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "ProgressLines"


def test_a_display_is_closed_when_its_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(ProgressDisplay, "close", lambda display: closed.append(display))

    def broken() -> None:
        with progress_display(quiet=True):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert len(closed) == 1


def test_lines_of_a_log_come_every_few_seconds(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        lines = ProgressLines(stream, every=0.0)
        lines.plan(["one", "two"])
        lines.start("one")
        lines.update("", 0, 0)
        lines.update("epoch 1", 1, 2)
        lines.finish(False)
        lines.start("two")
        lines.finish(True)
    assert re.fullmatch(
        r"\[1/2\] one  epoch 1, 1/2  \(next: two\)\n\[1/2\] one  0\.\d s\n"
        r"\[2/2\] two  already there\n",
        (tmp_path / "log").read_text(),
    )
