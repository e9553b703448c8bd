"""What the demonstration shows and checks: results by SQL, events, calls, the dead letter."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors
from psycopg.rows import dict_row
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.status import Status

    from demo_messages import Event, Message

# Fits a terminal beside an editor; the widest table needs 99.
_COLUMNS = 100

_READER = "SET ROLE verification_reader"

_RESULTS = """\
SELECT request_id, outcome, masked_name AS name, masked_id_card AS id_card,
       charged, calls, error_kind
  FROM verification_v1.results
 WHERE source = '{run}'
 ORDER BY requested_at, request_id"""

_CALLS = """\
SELECT request_id, call_number AS call, class, http_status AS http, charged, milliseconds AS ms
  FROM verification_v1.calls
 WHERE starts_with(request_id, '{run}-')
 ORDER BY started_at, request_id"""

_STYLES = (
    dict.fromkeys(("match", "answered"), "green")
    | dict.fromkeys(("mismatch", "no_record"), "yellow")
    | dict.fromkeys(("rejected", "expired", "conflict", "in_doubt", "unavailable"), "magenta")
)

_NUMBERS = ("after", "calls", "call", "http", "ms")

Rows = list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Saved:
    """What the database holds of this run, and as whom it was read."""

    reader: str
    results: Rows
    calls: Rows


@dataclass(frozen=True, slots=True)
class Billed:
    """The sandbox's own count, as a provider's bill would have it."""

    calls: int
    charges: int


@dataclass(frozen=True, slots=True)
class Findings:
    """All that came of the messages of one run."""

    messages: Sequence[Message]
    events: Sequence[Event]
    saved: Saved
    billed: Billed
    dead_letter: Mapping[str, object] | None


def results_query(run: str) -> str:
    """Return the query of the results of one run."""
    return _RESULTS.format(run=run)


def read_saved(url: str, run: str) -> Saved:
    """Read the run's results and calls as the role that people have. Raises psycopg.Error."""
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        reader = "as verification_reader"
        try:
            connection.execute(_READER)
        except errors.InsufficientPrivilege:
            reader = "as the user of DATABASE_URL, who may not SET ROLE verification_reader"
        results = connection.execute(results_query(run).encode()).fetchall()
        calls = connection.execute(_CALLS.format(run=run).encode()).fetchall()
    return Saved(reader, results, calls)


def problems(findings: Findings) -> list[str]:
    """Return a sentence for everything that is not as it must be; [] is good."""
    found: list[str] = []
    events = {event.correlation_id: event for event in findings.events}
    rows = {row["request_id"]: row for row in findings.saved.results}
    for message in findings.messages:
        expected, event = message.expected, events.get(message.correlation_id)
        wanted = (expected.outcome, expected.charged, expected.calls, expected.error_kind)
        if event is None:
            found.append(f"{message.correlation_id}: no event came")
        elif (came := (event.outcome, event.charged, event.calls, event.error_kind)) != wanted:
            found.append(f"{message.correlation_id}: the event says {came}, not {wanted}")
        elif expected.has_row:
            row = rows.get(message.correlation_id, {})
            saved = tuple(row.get(name) for name in ("outcome", "charged", "calls", "error_kind"))
            if saved != wanted:
                found.append(f"{message.correlation_id}: the row says {saved}, not {wanted}")
    found += _problems_across(findings, events)
    return found


def _problems_across(findings: Findings, events: Mapping[str, Event]) -> Iterable[str]:
    twins = [key for key in events if key.endswith(("-match", "-repeated"))]
    if len({events[key].event_id for key in twins}) > 1:
        yield "the repeated request got another eventId than the first one"
    if len(findings.events) > len(findings.messages):
        yield f"{len(findings.events)} events came for {len(findings.messages)} messages"
    calls = sum(each.expected.calls for each in findings.messages if each.expected.has_row)
    charges = sum(each.expected.charges for each in findings.messages)
    if (billed := findings.billed) != Billed(calls, charges):
        yield f"the bill has {billed.calls} calls, {billed.charges} paid, not {calls}, {charges}"
    if not _agree(findings):
        yield "the sandbox and the ledger count differently"
    if findings.dead_letter is None or findings.dead_letter.get("reason") != "not_json":
        yield "the unreadable message is not among the dead letters with the reason not_json"


def _charged(calls: Rows, answer: str) -> int:
    return sum(call["charged"] == answer for call in calls)


def _agree(findings: Findings) -> bool:
    """Tell whether the bill has our calls, and our charges with or without those in doubt."""
    calls, billed = findings.saved.calls, findings.billed
    certain = _charged(calls, "yes")
    most = certain + _charged(calls, "unknown")
    return len(calls) == billed.calls and certain <= billed.charges <= most


class Report:
    """Prints for a person: colours on a terminal, plain text elsewhere, at most 100 columns."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._console.width = _COLUMNS
        if self._console.is_terminal:
            self._console.width = min(_COLUMNS, Console().width)
        self._started = time.monotonic()

    def title(self, words: str) -> None:
        """Begin a part."""
        self._console.print(f"\n[bold]{words}[/bold]")

    def step(self, what: str, words: str) -> None:
        """Say what has just been done, with the seconds since the start."""
        line = Text.assemble(
            (f"{time.monotonic() - self._started:5.1f} s  ", "dim"), (f"{what:<11}", "bold"), words
        )
        self._console.print(line, soft_wrap=True)

    def busy(self, words: str) -> Status:
        """Return a context in which a terminal shows that something is under way."""
        return self._console.status(words)

    def lines(self, *lines: str, style: str = "") -> None:
        """Print lines that people copy: never wrapped, nothing in them interpreted."""
        for line in lines:
            self._console.print(Text(f"  {line}".rstrip(), style=style), soft_wrap=True)

    def messages(self, messages: Sequence[Message]) -> None:
        """Show what is sent."""
        table = _table("message", "what happens")
        for message in messages:
            table.add_row(message.correlation_id, message.story)
        self._print(table)

    def findings(self, findings: Findings, run: str) -> None:
        """Show what came of the messages."""
        saved = findings.saved
        self.title(f"Results by SQL, read {saved.reader}")
        self.lines("", *f"{results_query(run)};".splitlines(), style="cyan")
        self._rows(saved.results)
        self.title("Events on the exchange verification.results")
        self._events(findings.events)
        self.title("Calls to the provider, as verification_v1.calls has them")
        self._rows(saved.calls)
        self._bill(findings)
        if findings.dead_letter is not None:
            self.title("The dead letter in verification.dead")
            headers = (f"{name} = {value}" for name, value in findings.dead_letter.items())
            self.lines("", ", ".join(headers))

    def _print(self, table: Table) -> None:
        self._console.print(Padding(table, (1, 0, 1, 2), expand=False))

    def _rows(self, rows: Rows) -> None:
        table = _table(*(rows[0] if rows else ("(no rows)",)))
        for row in rows:
            table.add_row(*(_cell(value) for value in row.values()))
        self._print(table)

    def _events(self, events: Sequence[Event]) -> None:
        table = _table("after", "message", "outcome", "routing key", "charged", "calls", "error")
        for event in events:
            table.add_row(
                f"{event.after:.2f} s",
                event.correlation_id,
                _cell(event.outcome),
                event.routing_key,
                event.charged,
                str(event.calls),
                _cell(event.error_kind),
            )
        self._print(table)

    def _bill(self, findings: Findings) -> None:
        calls, billed = findings.saved.calls, findings.billed
        certain, perhaps = _charged(calls, "yes"), _charged(calls, "unknown")
        self.lines(
            f"the sandbox's bill:   {billed.calls} calls, {billed.charges} charged",
            f"the worker's ledger:  {len(calls)} calls, {certain} charged and {perhaps} perhaps "
            f"(no answer says): {'they agree' if _agree(findings) else 'THEY DISAGREE'}",
        )


def _table(*columns: str) -> Table:
    # Without the box's edge and with one space each side of a gap: the events' widest is 97.
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        right = column in _NUMBERS
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    return table


def _cell(value: object) -> Text:
    text = "" if value is None else str(value)
    return Text(text, style=_STYLES.get(text, ""))
