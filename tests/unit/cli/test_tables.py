"""The one look of all tables, and that it is safe to print what others sent."""

import json
import re
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
from rich.text import Text

from worker.admin.cells import duration, shown
from worker.cli.inputs import moment
from worker.cli.mistakes import UserMistake
from worker.cli.tables import begin_again, counted, print_facts, print_table, render

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def test_a_table_has_a_line_for_each_row_however_wide(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("id", "words"), [("[red]a[/red]", "w " * 300), ("\x1b[31mb", None)], as_json=False)
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == ["id", "words"]
    assert first.startswith("[red]a[/red]")
    assert second.split() == [r"\x1b[31mb", "-"]


def on_a_terminal(patch: pytest.MonkeyPatch, columns: int) -> None:
    """Let the output be a terminal, so many columns wide."""
    patch.setattr(sys.stdout, "isatty", lambda: True)
    patch.setenv("COLUMNS", str(columns))
    patch.setenv("TERM", "xterm")


def plain(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines that were printed, without colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    return [line.rstrip() for line in text.splitlines()]


def test_numbers_and_ages_are_aligned_at_their_ends(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("a", 7, timedelta(seconds=5)), ("b", 1000, timedelta(days=3))]
    print_table(("id", "n", "age"), rows, as_json=False)
    assert plain(capsys) == [
        "id     n   age",
        "a      7  5.0s",
        "b   1000    3d",
    ]


def test_where_a_terminal_is_too_narrow_each_row_is_a_block(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("张三丰", "b" * 10), ("c", None)]
    on_a_terminal(monkeypatch, 18)  # as wide as the table: a Chinese character takes two columns
    print_table(("id", "more"), rows, as_json=False)
    assert plain(capsys) == ["id      more", "张三丰  bbbbbbbbbb", "c       -"]
    on_a_terminal(monkeypatch, 17)
    print_table(("id", "more"), rows, as_json=False)
    assert plain(capsys) == ["id    张三丰", "more  bbbbbbbbbb", "", "id    c", "more  -"]


def test_a_heading_alone_is_whole_in_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(monkeypatch, 12)
    print_table(("request_id", "outcome"), [], as_json=False)
    assert "".join(plain(capsys)) == "request_id  outcome"


def test_words_in_the_last_column_go_on_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(monkeypatch, 20)
    print_table(("at", "words"), [("12:00:00Z", "one two three")], as_json=False, words_last=True)
    assert plain(capsys) == ["at         words", "12:00:00Z  one two", "           three"]


@pytest.mark.parametrize(("variable", "value"), [("TERM", "dumb"), ("NO_COLOR", "1")])
def test_a_terminal_without_colours_gets_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    on_a_terminal(monkeypatch, 80)
    monkeypatch.setenv(variable, value)
    begin_again()
    render(Text("PAUSED", "bold red"))
    printed = capsys.readouterr().out
    assert "PAUSED" in printed
    assert "\x1b[1;31m" not in printed
    assert ("\x1b" in printed) == (variable == "NO_COLOR")


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 calls"), (1, "1 call"), (2000, "2,000 calls")]
)
def test_a_number_has_its_noun_in_its_form(number: int, words: str) -> None:
    assert counted(number, "call") == words


def test_json_is_one_document_with_times_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    china = datetime(2026, 11, 27, 20, tzinfo=timezone(timedelta(hours=8)))
    print_table(("at", "age", "n"), [(china, timedelta(seconds=90), None)], as_json=True)
    assert json.loads(capsys.readouterr().out) == [
        {"at": "2026-11-27T12:00:00.000Z", "age": 90.0, "n": None}
    ]
    print_facts({"at": china, "yes": True}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"at": "2026-11-27T12:00:00.000Z", "yes": True}
    print_table(("at",), [], as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_cells_are_short_and_without_a_zone_of_their_own() -> None:
    assert shown(NOON) == "2026-11-27T12:00:00Z"
    assert [shown(each) for each in (True, False, None, 7)] == ["yes", "no", "-", "7"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.44, "0.4s"), (59, "59s"), (60, "1m"), (3_725, "1h 2m"), (273_600, "3d 4h"), (-5, "-5.0s")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert duration(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-27T12:00:00Z", NOON),
        ("2026-11-27T20:00:00+08:00", NOON),
        ("2026-11-27T12:00", NOON),
        ("2h", NOON - timedelta(hours=2)),
        ("3d", NOON - timedelta(days=3)),
    ],
)
def test_a_time_may_be_typed_as_one_or_as_so_long_ago(text: str, time: datetime) -> None:
    assert moment("--since", text, NOON) == time


@pytest.mark.parametrize("text", ["yesterday", "2w", "999999d", "", "2026-13-01"])
def test_what_is_no_time_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(UserMistake, match="--since"):
        moment("--since", text, NOON)
