"""Which lines of an invoice are billed calls, and what is said of a file that is none."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.fakes.messages import ID_CARD, NAME
from worker.cli.invoice_file import Columns, InvoiceFile, Tally, parse_time
from worker.cli.mistakes import UserMistake

NOON = datetime(2026, 11, 1, 4, tzinfo=UTC)
"""In Asia/Shanghai."""
PLAIN = Columns("requestId", "time", None)


def read(
    path: Path,
    text: str,
    columns: Columns = PLAIN,
    begin: datetime | None = None,
    end: datetime | None = None,
) -> tuple[list[tuple[int, str, datetime | None]], Tally]:
    path.write_text(text)
    tally = Tally()
    file = InvoiceFile(path, "utf-8-sig", columns, begin, end)
    found = [(one.line, one.provider_request_id, one.billed_at) for one in file.lines(tally)]
    return found, tally


def test_lines_are_read_by_the_names_of_their_columns(tmp_path: Path) -> None:
    text = (
        '\ufefftime,price,requestId\n2026-11-01 12:00:00,"1,5",r-1\n\n2026-11-01T04:00:00Z,1,r-2\n'
    )
    found, tally = read(tmp_path / "a.csv", text)
    assert found == [(2, "r-1", NOON), (4, "r-2", NOON)]
    assert (tally.unreadable, tally.free, tally.outside) == (0, 0, 0)


@pytest.mark.parametrize(
    ("words", "free"), [("0", True), ("No", True), ("否", True), ("1", False), ("", False)]
)
def test_a_line_may_say_that_it_is_free(tmp_path: Path, words: str, free: bool) -> None:
    text = f"requestId,time,charged\nr-1,2026-11-01,{words}\n"
    found, tally = read(tmp_path / "a.csv", text)
    assert (len(found), tally.free) == (not free, free)
    named = Columns("requestId", "time", "计费")
    found, tally = read(tmp_path / "a.csv", text.replace("charged", "计费"), named)
    assert (len(found), tally.free) == (not free, free)


def test_bounds_hold_the_end_excluded(tmp_path: Path) -> None:
    day = timedelta(days=1)
    text = "requestId,time\na,2026-10-31 12:00:00\nb,2026-11-01 12:00:00\nc,2026-11-02 12:00:00\n"
    found, tally = read(tmp_path / "a.csv", text, begin=NOON, end=NOON + day)
    assert [each[1] for each in found] == ["b"]
    assert tally.outside == 2


def test_without_a_column_of_times_bounds_are_needed(tmp_path: Path) -> None:
    text = "requestId,day\na,1\n"
    with pytest.raises(UserMistake, match=r"no column time: .* or give --from and --to"):
        read(tmp_path / "a.csv", text)
    found, _ = read(tmp_path / "a.csv", text, begin=NOON, end=NOON + timedelta(days=1))
    assert found == [(2, "a", None)]


def test_a_missing_column_is_named_with_those_there_are_but_never_data(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="there are: id, when, 金额") as caught:
        read(tmp_path / "a.csv", "id,when,金额\n")
    assert "--column-request-id" in str(caught.value)
    with pytest.raises(UserMistake) as caught:
        read(tmp_path / "a.csv", f"{ID_CARD},when\n")
    assert "(column 1), when" in str(caught.value)
    assert ID_CARD not in str(caught.value)


def test_lines_that_cannot_be_read_are_counted_and_the_first_ones_named(tmp_path: Path) -> None:
    bad = f"{NAME},2026-11-01\nr-1,yesterday\nr-2\n" + ",2026-11-01\n" * 30
    found, tally = read(tmp_path / "a.csv", f"requestId,time\n{bad}r-3,2026-11-01\n")
    assert [each[1] for each in found] == ["r-3"]
    assert tally.unreadable == 33
    assert len(tally.problems) == 20
    assert tally.problems[:3] == [
        "line 2: requestId: holds no request id",
        "line 3: time: holds no time",
        "line 4: has 1 columns, not 2",
    ]
    assert NAME not in str(tally.problems)


def test_a_file_is_read_as_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("requestId,time\nr-1,2026-11-01\n" + '"torn\n')
    lines = InvoiceFile(path, "utf-8-sig", PLAIN, None, None).lines(Tally())
    assert next(lines).provider_request_id == "r-1"
    with pytest.raises(UserMistake, match="is not CSV"):
        next(lines)


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        ("2026-11-01", datetime(2026, 10, 31, 16, tzinfo=UTC)),
        ("2026/11/01 12:00:00", NOON),
        ("2026-11-01T12:00:00+08:00", NOON),
        ("2026-11-01T04:00:00Z", NOON),
        ("", None),
        ("noon", None),
        # .NET's first moment, and one that another zone has in the year 10000.
        ("0001-01-01 00:00:00", None),
        ("9999-12-31T23:00:00-08:00", None),
    ],
)
def test_times_are_the_providers_unless_they_name_a_zone(
    words: str, moment: datetime | None
) -> None:
    assert parse_time(words) == moment


def test_a_column_of_id_numbers_is_none_of_request_ids(tmp_path: Path) -> None:
    text = f"requestId,time\n{ID_CARD.lower()},2026-11-01\n{ID_CARD},2026-11-01\n"
    found, tally = read(tmp_path / "a.csv", text)
    assert (found, tally.unreadable) == ([], 2)
    wrong_digit = ID_CARD[:-1] + "1"  # an id of the provider's that only looks like one
    found, _ = read(tmp_path / "a.csv", f"requestId,time\n{wrong_digit},2026-11-01\n")
    assert [each[1] for each in found] == [wrong_digit]
