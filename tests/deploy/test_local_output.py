"""What the local stack says to whoever waits in a terminal of 80 columns, or reads it in a pipe."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

import local_install
from demo_messages import messages
from demo_stage import Report
from local_errors import StackError

if TYPE_CHECKING:
    from pathlib import Path

RUN = "demo-1891f1"
STORY = [
    {"message": each["id"], "what happens": each["story"]}
    for several in messages(RUN)
    for each in several
]
RESULTS = [
    {
        "request_id": f"{RUN}-no-record",
        "outcome": "no_record",
        "name": "张*",
        "charged": "unknown",
        "calls": 1,
        "error_kind": "invalid_request",
    }
]
EVENTS = [
    {
        "message": "-unreadable",
        "outcome": "no_record",
        "routing key": "default.rejected",
        "charged": "unknown",
        "calls": 1,
        "error_kind": "invalid_request",
    }
]


@pytest.fixture(params=["pipe", "dumb", "xterm", "no colour"])
def output(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Let standard output be a pipe, or a terminal of 80 columns."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: request.param != "pipe")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb" if request.param == "dumb" else "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if request.param == "no colour":
        monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize("rows", [STORY, RESULTS, EVENTS], ids=["story", "results", "events"])
def test_the_tables_of_the_demonstration_are_whole_in_80_columns(
    output: None, capsys: pytest.CaptureFixture[str], rows: list[dict[str, object]]
) -> None:
    Report().table(rows)
    printed = capsys.readouterr().out
    if os.environ["TERM"] == "dumb" or not sys.stdout.isatty():
        assert "\x1b" not in printed
    if "NO_COLOR" in os.environ:
        assert "\x1b[3" not in printed
    assert all(str(cell) in printed for row in rows for cell in row.values())
    assert "…" not in printed


def test_in_a_narrow_terminal_what_is_looked_for_first_stays_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("TERM", "xterm")
    Report().table(RESULTS)
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("outcome", "no_record", "charged", "unknown", "calls"))
    assert "…" not in printed


def test_an_installer_that_takes_long_says_where_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    script = f"""
import pathlib, time
print("Unpacking erlang-base", flush=True)
while not pathlib.Path({str(seen)!r}).exists():
    time.sleep(0.01)
print("E: no space left", flush=True)
raise SystemExit(7)
"""

    def told(words: str, *, flush: bool) -> None:
        if "Unpacking erlang-base" in words:
            seen.touch()

    monkeypatch.setattr(local_install, "_TOLD_EVERY", 0.01)
    monkeypatch.setattr(local_install, "print", told, raising=False)
    with pytest.raises(StackError, match=r"ended with code 7:\n.*\nE: no space left"):
        local_install._run([sys.executable, "-c", script], None, {})
