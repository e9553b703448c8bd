"""What the local stack says to whoever waits in a terminal of 80 columns, or reads it in a pipe."""

import sys
from typing import Any

import pytest

from demonstration import messages, show

RUN = "demo-1891f1"
STORY = [{"message": each["id"], "what happens": each["story"]} for each in messages(RUN)]
WIDEST = {"charged": "unknown", "calls": 1, "error_kind": "invalid_request"}
RESULTS: list[dict[str, object]] = [
    {"request_id": f"{RUN}-no-record", "outcome": "no_record", "name": "张*", **WIDEST}
]
EVENTS: list[dict[str, object]] = [
    {"message": "-unreadable", "outcome": "no_record", "routing key": "default.rejected", **WIDEST}
]


@pytest.mark.parametrize("rows", [STORY, RESULTS, EVENTS], ids=["story", "results", "events"])
@pytest.mark.parametrize("is_terminal", [False, True], ids=["pipe", "terminal"])
def test_the_tables_of_the_demonstration_are_whole_in_80_columns(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rows: list[dict[str, Any]],
    is_terminal: bool,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    show(rows)
    _, heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == " ".join(rows[0]).split()
    assert len(lines) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        assert all(str(cell) in line for cell in row.values())
        assert len(line) <= 80
