"""A file of many requests, CSV or JSON lines: each line is checked as the worker will check it.

Streamed: what stays of a line is its id. A problem names the line and the field, never the value.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from worker.cli.inputs import today
from worker.cli.mistakes import UserMistake, file_mistakes
from worker.contract.request_v1 import Accepted, Refused, RequestReader, Unreadable
from worker.core.delivery import Delivery
from worker.core.outcome import FieldProblem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLUMNS = "requestId checkType name idCard bankcard mobile source expiresAt".split()
_OF_THE_PERSON = frozenset({"name", "idCard", "bankcard", "mobile"})


@dataclass(frozen=True, slots=True, repr=False)
class GoodLine:
    """A request that passes every check, as it will be published."""

    line: int
    request_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not sent, and why."""

    line: int
    problems: tuple[FieldProblem, ...]


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

    def count(self) -> int:
        """Return about how many requests there are: the file's lines, without a CSV's heading."""
        with self._open() as stream:
            pieces = iter(lambda: stream.read(1 << 20), b"")
            ends, last = 0, b"\n"
            for piece in pieces:
                ends, last = ends + piece.count(b"\n"), piece[-1:]
        return max(0, ends + (last != b"\n") - self._is_csv)

    def lines(self) -> Iterator[GoodLine | BadLine]:
        """Yield every request in turn; raises UserMistake where the file is none of requests."""
        day = today()
        for line, request in self._csv() if self._is_csv else self._json():
            if isinstance(request, BadLine):
                yield request
                continue
            if self.source is not None:
                request.setdefault("source", self.source)
            body = orjson.dumps(request)
            reading = self.reader.read(Delivery(0, 0, body), day)
            match reading:
                case Accepted():
                    yield GoodLine(line, reading.request.request_id, body)
                case Refused():
                    yield BadLine(line, tuple(map(_in_a_file, reading.problems)))
                case Unreadable():
                    yield BadLine(line, (_in_a_file(reading.problem),))

    @property
    def _is_csv(self) -> bool:
        return self.path.suffix.lower() == ".csv"

    def _open(self) -> Any:
        with file_mistakes(self.path):
            return self.path.open("rb")

    def _json(self) -> Iterator[tuple[int, Any]]:
        with self._open() as stream:
            for line, text in enumerate(stream, 1):
                if not text.strip():
                    continue
                try:
                    request = orjson.loads(text.removeprefix(b"\xef\xbb\xbf"))
                except orjson.JSONDecodeError:
                    yield line, _bad(line, "is not JSON in UTF-8")
                    continue
                is_one = isinstance(request, dict)
                yield line, request if is_one else _bad(line, "must be a JSON object")

    def _csv(self) -> Iterator[tuple[int, Any]]:
        with (
            file_mistakes(self.path, self.encoding),
            self.path.open(encoding=self.encoding, newline="") as stream,
        ):
            rows = csv.reader(stream, strict=True)
            try:
                heading = [name.strip() for name in next(rows, [])]
                self._check(heading)
                for row in rows:
                    if any(row):
                        yield rows.line_num, _request(rows.line_num, heading, row)
            except csv.Error as error:
                where = f"{self.path}: line {rows.line_num}"
                raise UserMistake(f"{where}: is not CSV ({error})") from None

    def _check(self, heading: list[str]) -> None:
        """Refuse unknown columns by their place: where there is no heading they are somebody."""
        places = [str(place) for place, name in enumerate(heading, 1) if name not in COLUMNS]
        if places or "requestId" not in heading or len(set(heading)) < len(heading):
            which = f"; these columns are none: {', '.join(places)}" if places else ""
            raise UserMistake(
                f"{self.path}: its first line must name columns, each once and requestId among "
                f"them, of {', '.join(COLUMNS)}{which}"
            )


def _request(line: int, heading: list[str], row: list[str]) -> dict[str, Any] | BadLine:
    """Return a row as a request; an empty cell is a field that is not there."""
    if len(row) != len(heading):
        return _bad(line, f"has {len(row)} columns, not {len(heading)}")
    cells = {name: text for name, text in zip(heading, map(str.strip, row), strict=True) if text}
    user = {name: cells.pop(name) for name in tuple(cells) if name in _OF_THE_PERSON}
    spec: dict[str, Any] = {"personalUser": user}
    if (check_type := cells.pop("checkType", None)) is not None:
        is_number = check_type.isascii() and check_type.isdigit()
        spec["checkType"] = int(check_type) if is_number else check_type
    return {**cells, "personalSpec": spec}


def _bad(line: int, problem: str) -> BadLine:
    return BadLine(line, (FieldProblem("line", problem),))


def _in_a_file(problem: FieldProblem) -> FieldProblem:
    """Return a problem in the words of a file: there is no message_id."""
    words = problem.problem.removesuffix(", here or as the AMQP message_id")
    return FieldProblem(problem.field.removeprefix("personalSpec.personalUser."), words)
