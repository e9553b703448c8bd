"""What the local stack says to whoever waits in a terminal of 80 columns, or reads it in a pipe."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from demo_messages import messages
from demo_stage import Report

Printed = Callable[..., str]
RUN = "demo-1891f1"
STORY = [
    {"message": each["id"], "what happens": each["story"]}
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


@pytest.mark.parametrize("rows", [STORY, RESULTS, EVENTS], ids=["story", "results", "events"])
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
