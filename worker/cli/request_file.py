"""A file of many requests, CSV or JSON lines: each line is checked as the worker will check it.

Streamed. A problem names the line and the field, never the value.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from worker.cli.csv_file import CsvFile
from worker.cli.mistakes import UserMistake, file_mistakes
from worker.contract.request_model import BYTE_ORDER_MARK
from worker.contract.request_v1 import Accepted, Reading, Refused, RequestReader, Unreadable
from worker.core.delivery import Delivery
from worker.core.outcome import FieldProblem
from worker.telemetry.clock import today

COLUMNS = "requestId checkType name idCard bankcard mobile source expiresAt".split()
_OF_THE_PERSON = frozenset({"name", "idCard", "bankcard", "mobile"})
_NUMBERS = frozenset({"checkType", "idCard", "bankcard", "mobile"})
# What is longer is another column's, and perhaps no number that JSON has.
_INTEGER = re.compile(r"[0-9]{1,9}")
# A spreadsheet or a data frame has made a number of it.
_POINT_ZERO = re.compile(r"\.0+$")
# A spreadsheet keeps 15 digits of a number; of 16 the last may be 0 by itself.
_DAMAGED = re.compile(r"[0-9]{15}0{2,}")
_LOST = "ends in zeros, as spreadsheets leave numbers of more than 15 digits: is it whole?"


@dataclass(frozen=True, slots=True, repr=False)
class GoodLine:
    """A request that passes every check, as it will be published."""

    line: int
    request_id: str
    body: bytes
    warnings: tuple[FieldProblem, ...] = ()
    """What is odd and refuses nothing: the worker will pay for it."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not sent, and why."""

    line: int
    problems: tuple[FieldProblem, ...]


_Line = tuple[int, dict[str, Any], bytes]
"""A line's number, what stands in it, and the body that is checked and published."""


@dataclass(frozen=True, slots=True)
class RequestFile:
    """A `.csv` with a heading, or a `.jsonl` with one request a line.

    `source` is for the lines that name none. An id must stand in each line: one that is made of
    the file's name and the line would change with either, and the same person be paid twice.
    """

    path: Path
    encoding: str
    source: str | None
    reader: RequestReader

    def lines(self) -> Iterator[GoodLine | BadLine]:
        """Yield every request in turn; raises UserMistake where the file is none of requests."""
        is_csv = self.path.suffix.lower() == ".csv"
        for found in self._csv() if is_csv else self._json():
            if isinstance(found, BadLine):
                yield found
                continue
            line, request, body = found
            match reading := self._read(body):
                case Accepted():
                    told = _explained(map(_in_a_file, reading.warnings), request)
                    yield GoodLine(line, reading.request.request_id, body, told)
                case Refused():
                    told = _explained(map(_in_a_file, reading.problems), request)
                    yield BadLine(line, told)
                case Unreadable():
                    yield BadLine(line, (_in_a_file(reading.problem),))

    def _read(self, body: bytes) -> Reading:
        return self.reader.read(Delivery(0, 0, body), today())

    def _with_source(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return a request with our source where it names none."""
        if self.source is None or request.get("source") is not None:
            return request
        return {**request, "source": self.source}

    def _json(self) -> Iterator[BadLine | _Line]:
        with file_mistakes(self.path), self.path.open("rb") as stream:
            for line, text in enumerate(stream, 1):
                if not (body := text.removeprefix(BYTE_ORDER_MARK).strip()):
                    continue
                try:
                    request = orjson.loads(body)
                except orjson.JSONDecodeError:
                    yield _bad(line, "is not JSON in UTF-8")
                    continue
                if not isinstance(request, dict):
                    yield _bad(line, "must be a JSON object")
                    continue
                # What is no request as it stands is not written anew: one might come of it.
                whole = self._with_source(request)
                if whole is not request and isinstance(self._read(body), Accepted):
                    body = orjson.dumps(whole)
                yield line, request, body

    def _csv(self) -> Iterator[BadLine | _Line]:
        heading: list[str] = []
        for line, cells in CsvFile(self.path, self.encoding).rows():
            if heading:
                request = _request(line, heading, cells)
                if isinstance(request, BadLine):
                    yield request
                else:
                    yield line, request, orjson.dumps(self._with_source(request))
            else:
                heading = self._columns(cells)
        if not heading:
            self._columns([])

    def _columns(self, heading: list[str]) -> list[str]:
        """Return the heading in our spelling.

        Unknown columns are refused by their place: where there is no heading they are somebody.
        """
        known = [_COLUMNS.get(_folded(name)) for name in heading]
        places = [str(place) for place, name in enumerate(known, 1) if name is None]
        if places or "requestId" not in known or len(set(known)) < len(known):
            which = f"; these columns are none: {', '.join(places)}" if places else ""
            raise UserMistake(
                f"{self.path}: its first line must name columns, each once and requestId among "
                f"them, of {', '.join(COLUMNS)}{which}"
            )
        return [name for name in known if name is not None]


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


_COLUMNS = {_folded(name): name for name in COLUMNS}


def _request(line: int, heading: list[str], row: list[str]) -> dict[str, Any] | BadLine:
    """Return a row as a request; an empty cell is a field that is not there."""
    if len(row) != len(heading):
        return _bad(line, f"has {len(row)} columns, not {len(heading)}")
    cells = {name: text for name, text in zip(heading, row, strict=True) if text}
    for name in _NUMBERS & cells.keys():
        cells[name] = _POINT_ZERO.sub("", cells[name])
    user = {name: cells.pop(name) for name in tuple(cells) if name in _OF_THE_PERSON}
    spec: dict[str, Any] = {"personalUser": user}
    if (check_type := cells.pop("checkType", None)) is not None:
        spec["checkType"] = int(check_type) if _INTEGER.fullmatch(check_type) else check_type
    return {**cells, "personalSpec": spec}


def _explained(
    problems: Iterable[FieldProblem], request: dict[str, Any]
) -> tuple[FieldProblem, ...]:
    """Return the problems, and of odd numbers that end in zeros that a spreadsheet may be why."""
    told = tuple(problems)
    spec = request.get("personalSpec")
    user = spec.get("personalUser") if isinstance(spec, dict) else None
    given = user if isinstance(user, dict) else {}
    odd = (each.field for each in told if _DAMAGED.fullmatch(str(given.get(each.field, ""))))
    return told + tuple(FieldProblem(field, _LOST) for field in odd)


def _bad(line: int, problem: str) -> BadLine:
    return BadLine(line, (FieldProblem("line", problem),))


def _in_a_file(problem: FieldProblem) -> FieldProblem:
    """Return a problem in the words of a file: there is no message_id."""
    words = problem.problem.removesuffix(", here or as the AMQP message_id")
    return FieldProblem(problem.field.removeprefix("personalSpec.personalUser."), words)
