"""What the local stack says to whoever waits in a terminal of 80 columns, or reads it in a pipe."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import local_install
from demo_messages import messages
from demo_stage import Report
from local_errors import StackError

Printed = Callable[..., str]
RUN = "demo-1891f1"
MESSAGES = [
    {"message": each["id"], "what happens": each["happens"]}
    for several in messages(RUN)
    for each in several
]
WIDEST = {"charged": "unknown", "calls": 1, "error_kind": "invalid_request"}
RESULTS: list[dict[str, object]] = [
    {"request_id": f"{RUN}-no-record", "outcome": "no_record", "name": "张*", **WIDEST}
]
EVENTS: list[dict[str, object]] = [
    {"message": "-unreadable", "outcome": "no_record", "routing key": "default.rejected", **WIDEST}
]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Printed:
    """Give what prints a table to a pipe, or to a terminal with such variables."""

    def table(rows: list[dict[str, object]], *, pipe: bool = False, **variables: str) -> str:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: not pipe)
        monkeypatch.delenv("NO_COLOR", raising=False)
        for name, value in {"COLUMNS": "80", "TERM": "xterm-256color", **variables}.items():
            monkeypatch.setenv(name, value)
        Report().table(rows)
        return capsys.readouterr().out

    return table


@pytest.mark.parametrize("rows", [MESSAGES, RESULTS, EVENTS], ids=["messages", "results", "events"])
@pytest.mark.parametrize(
    ("output", "without"),
    [
        ({"pipe": True}, "\x1b"),
        ({"TERM": "dumb"}, "\x1b"),
        ({}, "…"),
        ({"NO_COLOR": "1"}, "\x1b[3"),
    ],
    ids=["pipe", "dumb", "xterm", "no colour"],
)
def test_the_tables_of_the_demonstration_are_whole_in_80_columns(
    printed: Printed, output: dict[str, Any], without: str, rows: list[dict[str, object]]
) -> None:
    text = printed(rows, **output)
    assert all(str(cell) in text for row in rows for cell in row.values())
    assert without not in text
    assert "…" not in text


def test_in_a_narrow_terminal_what_is_looked_for_first_stays_whole(printed: Printed) -> None:
    text = printed(RESULTS, COLUMNS="50", TERM="xterm")
    assert all(word in text for word in ("outcome", "no_record", "charged", "unknown", "calls"))
    assert "…" not in text


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
