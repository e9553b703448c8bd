"""The results of a file of requests, one line each, and what stands there from an earlier run."""

import csv
import fcntl
import io
import sys
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

import orjson

from worker.cli.mistakes import UserMistake

COLUMNS = ("requestId", "outcome", "charged", "error")
_HEADING = b"requestId,outcome,charged,error\n"
_BEGINNING = b'{"requestId":'


class ResultsFile:
    """A `.csv` or `.jsonl` that grows by a line for each result; None: standard output, as lines.

    Each line is one write, so that a kill leaves at most one torn line at the end, which is cut
    off before the next run goes on. A spreadsheet may have saved the file meanwhile, with a
    byte-order mark and its own line ends. Use it as a context manager.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None and path.suffix.lower() not in (".csv", ".jsonl"):
            raise UserMistake(f"--results: {path}: must end in .csv or .jsonl")
        self._path = path
        self._is_csv = path is not None and path.suffix.lower() == ".csv"
        self._stream: BinaryIO = sys.stdout.buffer
        self.outcomes: dict[str, str] = {}
        """The outcome of each request that has its line."""

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        try:
            self._stream = self._path.open("a+b", buffering=0)
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.close()
            raise UserMistake(f"{self._path}: another submit writes to it") from None
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            self._go_on(self._path)
        except BaseException:
            self._stream.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        if self._path is not None:
            self._stream.close()
        else:
            self._stream.flush()

    def write(self, event: Mapping[str, Any]) -> None:
        """Add the line of a result event."""
        row = {
            "requestId": event["requestId"],
            "outcome": event["outcome"],
            "charged": event["charged"],
            "error": _why(event.get("error")),
        }
        self._append(_csv_line(row) if self._is_csv else orjson.dumps(row) + b"\n")
        self.outcomes[event["requestId"]] = sys.intern(event["outcome"])

    def _go_on(self, path: Path) -> None:
        """Read what is there, cut off a torn line, and begin where nothing is."""
        whole = 0
        begin = _HEADING if self._is_csv else _BEGINNING
        with path.open("rb") as before:
            for number, line in enumerate(before, 1):
                if not line.endswith(b"\n"):
                    # Only our own may be cut off.
                    is_ours = begin.startswith(line[: len(begin)]) and not _is_other_json(line)
                    if number == 1 and not is_ours:
                        raise self._mistake(number)
                    break
                whole += len(line)
                if not self._is_csv or number > 1:
                    self._remember(number, line)
                elif line.removeprefix(BOM_UTF8).rstrip() != _HEADING.rstrip():
                    raise self._mistake(number)
        self._stream.truncate(whole)
        if self._is_csv and not whole:
            self._append(_HEADING)

    def _append(self, line: bytes) -> None:
        """Write it all: of a disk that is nearly full a write takes what there is room for."""
        try:
            while line:
                line = line[self._stream.write(line) :]
        except OSError as error:
            if self._path is None:
                raise
            raise self._unwritable(error) from None

    def _remember(self, number: int, line: bytes) -> None:
        try:
            if self._is_csv:
                row = dict(zip(COLUMNS, next(csv.reader([line.decode()])), strict=True))
            else:
                row = orjson.loads(line)
            self.outcomes[str(row["requestId"])] = sys.intern(str(row["outcome"]))
        except (ValueError, KeyError, TypeError):
            raise self._mistake(number) from None

    def _unwritable(self, error: OSError) -> UserMistake:
        return UserMistake(f"{self._path}: cannot be written ({error.strerror})")

    def _mistake(self, number: int) -> UserMistake:
        return UserMistake(
            f"--results: {self._path}: line {number} is no result; name a new file, or the one "
            "that an earlier run for the same requests began"
        )


def _is_other_json(line: bytes) -> bool:
    """Return whether this is whole, and no line of ours: somebody's only request, perhaps."""
    try:
        return "outcome" not in orjson.loads(line)
    except orjson.JSONDecodeError:
        return False


def _why(error: Mapping[str, Any] | None) -> str | None:
    """Return the error's code, and what is wrong with which field; events hold no values."""
    if error is None:
        return None
    fields = "; ".join(f"{each['field']} {each['problem']}" for each in error["fields"])
    return f"{error['kind']}: {fields}" if fields else str(error["kind"])


def _csv_line(row: Mapping[str, str | None]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["" if v is None else v for v in row.values()])
    return text.getvalue().encode()
