"""The provider's invoice as a file: which lines of it are billed calls. Streamed."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from worker.cli.csv_file import CsvFile
from worker.cli.mistakes import UserMistake
from worker.core.checks import passes_check_digit
from worker.core.timing import SHANGHAI
from worker.store.invoice import InvoiceLine

# What a printable id looks like; a name in Chinese does not.
_ID = re.compile(r"[\x21-\x7e]{1,128}")
# What says in a column of its own that a call was not charged; everything else says that it was.
_FREE = frozenset({"0", "no", "n", "false", "free", "否", "不计费", "未计费"})
# A column's name has no long number in it: that would be data where the heading should be.
_NAME = re.compile(r"(?!.*[0-9]{6}).{1,40}")
# Excel's days and hours have no leading zeros: 2026/11/8 9:05. A fraction of a second is none.
_UNPADDED = re.compile(r"(?<![0-9.])[0-9](?![0-9])")
# So many bad lines are named; they show what is wrong.
_NAMED_LINES = 20


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns' names; `charged` may be missing in the file unless a person named it."""

    request_id: str
    time: str
    charged: str | None


@dataclass(slots=True)
class Tally:
    """What became of the lines that are not compared."""

    free: int = 0
    outside: int = 0
    unreadable: int = 0
    problems: list[str] = field(default_factory=list)

    def complain(self, line: int, problem: str) -> None:
        """Count a line that cannot be used, and name the first few: never what stands there."""
        self.unreadable += 1
        if self.unreadable <= _NAMED_LINES:
            self.problems.append(f"line {line}: {problem}")


@dataclass(frozen=True, slots=True)
class InvoiceFile:
    """A CSV file with a heading; `begin` and `end` (excluded) bound the lines that count.

    Without a column of times every line counts, and then both bounds must be given.
    """

    path: Path
    encoding: str
    columns: Columns
    begin: datetime | None
    end: datetime | None

    def lines(self, tally: Tally) -> Iterator[InvoiceLine]:
        """Yield the billed calls; raises UserMistake for a file that is no such CSV."""
        rows = CsvFile(self.path, self.encoding).rows()
        _, heading = next(rows, (1, []))
        id_at, time_at, charged_at = self._places(heading)
        for number, row in rows:
            if len(row) != len(heading):
                tally.complain(number, f"has {len(row)} columns, not {len(heading)}")
                continue
            if charged_at is not None and row[charged_at].casefold() in _FREE:
                tally.free += 1
                continue
            identifier = row[id_at]
            if not _ID.fullmatch(identifier) or _is_id_card(identifier):
                tally.complain(number, f"{self.columns.request_id}: holds no request id")
                continue
            billed_at = None
            if time_at is not None and (billed_at := parse_time(row[time_at])) is None:
                tally.complain(number, f"{self.columns.time}: holds no time")
                continue
            if billed_at is not None and not self._within(billed_at):
                tally.outside += 1
                continue
            yield InvoiceLine(number, identifier, billed_at)

    def _within(self, moment: datetime) -> bool:
        after_begin = self.begin is None or moment >= self.begin
        return after_begin and (self.end is None or moment < self.end)

    def _places(self, heading: Sequence[str]) -> tuple[int, int | None, int | None]:
        columns = self.columns
        request_id = self._place(heading, columns.request_id, "--column-request-id")
        charged = time = None
        if columns.charged is not None:
            charged = self._place(heading, columns.charged, "--column-charged")
        elif "charged" in heading:
            charged = heading.index("charged")
        if columns.time in heading or self.begin is None or self.end is None:
            time = self._place(heading, columns.time, "--column-time")
        return request_id, time, charged

    def _place(self, heading: Sequence[str], name: str, option: str) -> int:
        if name in heading:
            return heading.index(name)
        there = ", ".join(
            each if _NAME.fullmatch(each) and each.isprintable() else f"(column {place})"
            for place, each in enumerate(heading[:50], 1)
        )
        also = " or give --from and --to" if option == "--column-time" else ""
        raise UserMistake(
            f"{self.path}: has no column {name}: name one by {option}{also}; there are: "
            f"{there or 'none'}"
        )


def parse_time(words: str) -> datetime | None:
    """Return a time or date as invoices and people write it, in Asia/Shanghai unless it says."""
    words = _UNPADDED.sub(lambda number: number[0].zfill(2), words.strip().replace("/", "-"))
    try:
        moment = datetime.fromisoformat(words)
        return (moment if moment.tzinfo else moment.replace(tzinfo=SHANGHAI)).astimezone(UTC)
    except (ValueError, OverflowError):  # the first day of the year 1 is none in UTC
        return None


def _is_id_card(identifier: str) -> bool:
    """Return whether a wrong column was named: people's numbers must not get into statements."""
    is_like_one = len(identifier) == 18 and identifier[:17].isdecimal()
    return is_like_one and passes_check_digit(identifier)
