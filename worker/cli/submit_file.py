"""`verification-worker submit FILE.csv` or `FILE.jsonl`: many requests, and a line for each result.

The whole file is looked through before its first request is published: bad lines are named and left
out, and where the worker would pay for something odd a person is asked.

What an earlier run has written to the results file is not submitted again. What it had published
without a result is, which costs nothing: a known requestId is answered with what is stored.
"""

import sys
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from worker.amqp.request_client import publish_requests
from worker.cli.mistakes import UserMistake, broker_mistakes
from worker.cli.request_file import BadLine, RequestFile
from worker.cli.results_file import ResultsFile
from worker.cli.tables import counted, note
from worker.contract.names import BULK, REQUESTS
from worker.contract.request_v1 import RequestReader
from worker.core.outcome import ANSWERS, FieldProblem
from worker.settings import SubmitSettings, load

# So many bad lines are named; more show the same.
_NAMED_LINES = 50


def submit_file(
    path: Path,
    results: Path | None,
    *,
    encoding: str,
    source: str | None,
    timeout: float,
    seal: Callable[[bytes], bytes],
    yes: bool = False,
    live: bool = False,
) -> bool:
    """Submit all requests of a file; return whether each ended in an answer.

    They go to the bulk lane, but with `live` before it.
    `timeout` is how many seconds may pass without any result; 0: it only publishes. `seal` makes
    of a request's body what is published. With `yes` nobody is asked about warnings.
    """
    settings = load(SubmitSettings)
    reader = RequestReader(settings.check_policy, settings.max_message_bytes)
    file = RequestFile(path, encoding, source, reader)
    waits = timeout > 0
    with ResultsFile(results) as kept:
        preview = Preview()
        preview.look_through(file, kept)
        _ask(preview, yes=yes)
        progress = _progress()
        bar = progress.add_task("results" if waits else "published", total=preview.lines)
        advance = partial(progress.advance, bar)
        submission = Submission(file, kept, advance, waits, seal, preview.bad)
        url, exchange = settings.amqp_url.get_secret_value(), REQUESTS if live else BULK
        try:
            with broker_mistakes(), progress:
                publish_requests(
                    url,
                    submission.requests(),
                    submission.result,
                    lambda: submission.awaited,
                    timeout,
                    exchange=exchange,
                )
        finally:
            if summary := submission.summary():
                note(summary)
        if not summary:
            note("no requests")
    return submission.all_answered


@dataclass(slots=True)
class Preview:
    """What a file of requests holds, told before anything of it is published."""

    lines: int = 0
    bad: set[int] = field(default_factory=set)
    """Lines that are not sent."""
    warned: set[int] = field(default_factory=set)
    """Lines with a warning that are to be sent, and have no result yet."""

    def look_through(self, file: RequestFile, kept: ResultsFile) -> None:
        """Read it all, and name what is wrong or odd."""
        seen: set[str] = set()
        for line in file.lines():
            self.lines += 1
            if isinstance(line, BadLine):
                _name(self.bad, line.line, line.problems)
            elif line.request_id in seen:
                again = FieldProblem("requestId", "stands in an earlier line")
                _name(self.bad, line.line, [again])
            else:
                seen.add(line.request_id)
                if line.warnings and line.request_id not in kept.outcomes:
                    _name(self.warned, line.line, line.warnings, "warning: ")
        for lines, what in ((self.bad, "bad lines"), (self.warned, "lines with warnings")):
            if len(lines) > _NAMED_LINES:
                note(f"{len(lines) - _NAMED_LINES:,} more {what} are not named")


def _name(lines: set[int], line: int, problems: Iterable[FieldProblem], kind: str = "") -> None:
    """Add a line to those of its kind, and name it while they are few."""
    lines.add(line)
    if len(lines) <= _NAMED_LINES:
        words = "; ".join(f"{each.field} {each.problem}" for each in problems)
        note(f"line {line}: {kind}{words}")


def _ask(preview: Preview, *, yes: bool) -> None:
    """Let a person decide about warnings; where none is there, nothing is published."""
    if yes or not preview.warned:
        return
    lines = f"{counted(len(preview.warned), 'line')} with a warning"
    if not sys.stdin.isatty():
        raise UserMistake(f"nothing is published: {lines}; look at them, then give --yes")
    typer.confirm(f"{lines}: publish all the same?", abort=True, err=True)


@dataclass(slots=True)
class Submission:
    """A file on its way to the broker: which lines are published, and what came of them."""

    file: RequestFile
    results: ResultsFile
    advance: Callable[[], None]
    waits: bool
    seal: Callable[[bytes], bytes]
    bad: Container[int] = frozenset()
    """Lines that are not sent; they were named before."""
    _seen: set[str] = field(default_factory=set)
    _waiting: set[str] = field(default_factory=set)
    _kept: int = 0
    _refused: int = 0

    @property
    def awaited(self) -> int:
        """How many requests that were published have no result yet."""
        return len(self._waiting)

    @property
    def all_answered(self) -> bool:
        """Whether every line's request ended in an answer, or was published where nobody waits."""
        if self._refused or (self.waits and self._waiting):
            return False
        ended = (self.results.outcomes[each] for each in self._seen if each not in self._waiting)
        return all(outcome in ANSWERS for outcome in ended)

    def requests(self) -> Iterator[bytes | None]:
        """Yield what is to be published; None for a line that is not."""
        for line in self.file.lines():
            if isinstance(line, BadLine) or line.line in self.bad:
                self._refused += 1
            else:
                self._seen.add(line.request_id)
                if line.request_id not in self.results.outcomes:
                    self._waiting.add(line.request_id)
                    if not self.waits:
                        self.advance()
                    yield self.seal(line.body)
                    continue
                self._kept += 1
            self.advance()
            yield None

    def result(self, body: bytes) -> None:
        """Write the line of a result event, once."""
        event = orjson.loads(body)
        if event["requestId"] in self._waiting:
            self._waiting.discard(event["requestId"])
            self.results.write(event)
            self.advance()

    def summary(self) -> str:
        """Return in a line what became of the file; "" where it had no request, or none yet."""
        counts = Counter(
            self.results.outcomes[each] for each in self._seen if each in self.results.outcomes
        )
        most_first = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        parts = [f"{count:,} {outcome}" for outcome, count in most_first]
        if self._kept:
            parts.append(f"{self._kept:,} of them from before")
        if self._waiting:
            what = "without a result yet: run the same again" if self.waits else "published"
            parts.append(f"{len(self._waiting):,} {what}")
        if self._refused:
            parts.append(f"{counted(self._refused, 'line')} not sent")
        return ", ".join(parts)


def _progress() -> Progress:
    """Return a bar on standard error; where that is no terminal it shows nothing."""
    is_terminal = sys.stderr.isatty()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True, width=None if is_terminal else 10_000),
        disable=not is_terminal,
        # Four times a second: drawing takes time from the requests.
        refresh_per_second=4,
    )
