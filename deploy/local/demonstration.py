"""The demonstration behind `deploy/local/run`: everything started, shown, checked and stopped."""

# ruff: noqa: E402  (the first statement stands before imports that take half a second)
from __future__ import annotations

import signal

# Nothing is started yet: Ctrl-C may end us on the spot, and without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import os
import secrets
import shlex
import sys
import time
from contextlib import closing
from io import TextIOWrapper
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors
from psycopg.rows import dict_row

from demo_messages import exchange, messages, problems
from demo_stage import NotAsExpected, Report, Stage
from local_errors import NotOurs, StackError, StartFailed
from worker.amqp.blocking import opened, queue_counts
from worker.amqp.broker_errors import AmqpError, NotProvisioned
from worker.contract.names import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType
    from typing import NoReturn

    from demo_messages import Row

# It takes 12 s; a machine with two cores and thirty busy processes has needed 90.
_LIMIT_SECONDS = 240

_LOOK_SECONDS = 0.2

_URLS = {"AMQP_URL": ("amqp://", "amqps://"), "DATABASE_URL": ("postgresql://",)}

_RESULTS = """\
SELECT request_id, outcome, masked_name AS name, charged, calls, error_kind
  FROM verification_v1.results
 WHERE source = '{run}'
 ORDER BY requested_at, request_id"""

_CALLS = """\
SELECT request_id, call_number AS call, class, http_status AS http, charged, milliseconds AS ms
  FROM verification_v1.calls
 WHERE starts_with(request_id, '{run}-')
 ORDER BY started_at, request_id"""


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Break off what is under way, once: `timeout` sends SIGINT twice."""
    del frame
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _ring(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise StackError(f"not done after {_LIMIT_SECONDS} s: something hangs")


def main(arguments: Sequence[str]) -> int:
    """Demonstrate, and return the exit code; `deploy/local/run` has checked the arguments."""
    for name, beginnings in _URLS.items():
        if not os.environ.get(name, beginnings[0]).startswith(beginnings):
            print(f"run: {name} must begin with {' or '.join(beginnings)}", file=sys.stderr)
            return 2
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGALRM, _ring)
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal without Chinese shows ? instead
        sys.stdout.reconfigure(errors="replace")
    report = Report()
    try:
        with closing(Stage(report)) as stage:
            return _act(stage, report, stay="--stay" in arguments)
    except KeyboardInterrupt:
        print("\ninterrupted: everything is stopped", file=sys.stderr)
        return 128 + signal.SIGINT


def _act(stage: Stage, report: Report, *, stay: bool) -> int:
    try:
        signal.alarm(_LIMIT_SECONDS)
        run = _demonstrate(stage, report)
        signal.alarm(0)
        if stay:
            _stay(stage, report, run)
        report.title("Stopping")
        stage.stop()
    except NotOurs as refusal:
        print(f"run: {refusal}", file=sys.stderr)
        return 2
    except (StackError, AmqpError, psycopg.Error, OSError) as error:
        signal.alarm(0)
        print(f"run: {str(error).strip() or type(error).__name__}", file=sys.stderr)
        # A server that does not start has its own log in its words.
        if stage.worker is not None and not isinstance(error, StartFailed):
            print(
                "The end of the worker's log:", stage.worker.log_tail(), sep="\n", file=sys.stderr
            )
        return 1
    if not stay:
        report.title("What next")
        report.lines(
            "./deploy/local/run --stay    # keeps all this up, to try every command on it",
            "./deploy/local/test          # all checks and tests",
            "README.md                    # what it promises, and the way to production",
        )
    return 0


def _demonstrate(stage: Stage, report: Report) -> str:
    """Start everything, exchange the messages, show and check what came of them.

    Returns the source that all of this run's messages have. Raises NotAsExpected.
    """
    report.title("The verification worker at work: starting what it needs")
    with report.busy("RabbitMQ takes five seconds"):
        if not stage.servers.broker.private:
            _refuse_queue_in_use(stage.servers.broker.url)
        stage.start()
    run = f"demo-{secrets.token_hex(3)}"
    first, second = messages(run)
    sent = [*first, *second]
    report.title(f"Publishing {len(sent)} messages to the exchange verification.requests")
    report.table([{"message": each["id"], "what happens": each["story"]} for each in sent])
    with report.busy("waiting for the result events"):
        events = exchange(stage.environment["AMQP_URL"], run, stage.is_working)
    found = list(_look_at_all(stage, report, run, events))
    if not stage.is_working():
        found.insert(0, "the worker has ended by itself")
    if found:
        raise NotAsExpected("\n".join(("not all is as it must be:", *found)))
    report.title(
        f"Checked: all {len(sent)} messages led to what they must, in rows, events and calls"
    )
    return run


def _look_at_all(stage: Stage, report: Report, run: str, events: Sequence[Row]) -> Iterator[str]:
    """Show what came of the messages, and yield what is not as it must be."""
    reader, results, calls = _read_saved(stage.environment["DATABASE_URL"], run)
    report.title(f"Results by SQL, read {reader}")
    report.lines("", *f"{_RESULTS.format(run=run)};".splitlines(), style="cyan")
    report.table(results)
    report.title(f"Events on verification.results, without {run} in ids and routing keys")
    report.table([{name: event[name] for name in event if name != "event_id"} for event in events])
    report.title("Calls to the provider, as verification_v1.calls has them")
    report.table(calls)
    billed = stage.billed()
    yield from problems(run, events, results, billed)
    yield from _compare(report, calls, billed)
    yield from _look_at_the_dead_letter(stage, report, f"{run}-unreadable")


def _read_saved(url: str, run: str) -> tuple[str, list[Row], list[Row]]:
    """Read the run's results and calls as the role that people have, and say as whom."""
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        reader = "as verification_reader"
        try:
            connection.execute("SET ROLE verification_reader")
        except errors.InsufficientPrivilege:
            reader = "as the user of DATABASE_URL, who may not SET ROLE verification_reader"
        results = connection.execute(_RESULTS.format(run=run).encode()).fetchall()
        return reader, results, connection.execute(_CALLS.format(run=run).encode()).fetchall()


def _compare(report: Report, calls: Sequence[Row], billed: Row) -> Iterator[str]:
    """Show the bill beside the ledger: charges agree with or without those in doubt."""
    answers = [call["charged"] for call in calls]
    certain, perhaps = answers.count("yes"), answers.count("unknown")
    agree = len(calls) == billed["calls"] and 0 <= billed["charges"] - certain <= perhaps
    report.lines(
        f"the sandbox's bill:   {billed['calls']} calls, {billed['charges']} charged",
        f"the worker's ledger:  {len(calls)} calls, {certain} charged, {perhaps} perhaps: "
        f"{'they agree' if agree else 'THEY DISAGREE'}",
    )
    if not agree:
        yield "the sandbox and the ledger count differently"


def _look_at_the_dead_letter(stage: Stage, report: Report, message_id: str) -> Iterator[str]:
    """Show it by the product's own command; a broker that is not ours is left without it."""
    words, shown = stage.command("verification-worker", "dead-letters", "show", message_id)
    report.title("The dead letter in verification.dead")
    report.lines("", words, "", *shown.splitlines())
    if "not_json" not in shown:
        yield "the unreadable message is not among the dead letters with the reason not_json"
    if not stage.servers.broker.private:
        drop = f"dead-letters drop --yes --request-id {message_id}"
        stage.command("verification-worker", *drop.split())


def _stay(stage: Stage, report: Report, run: str) -> None:
    """Say how to use what runs, and return at Ctrl-C. Raises NotAsExpected if the worker ends."""
    report.title(f"Everything stays up until Ctrl-C. To look at it: {stage.console()}")
    report.lines("", "In another terminal:")
    exports = (f"export {key}={shlex.quote(value)}" for key, value in stage.own_variables().items())
    report.lines("", f"export PATH={shlex.quote(sys.prefix)}/bin:$PATH", *exports, "")
    report.lines(
        "verification-worker submit --check-type 2 \\",
        "  --name 张三 --id-card 11010519491231002X",
        f"verification-worker explain {run}-in-doubt    # its story, call by call",
        "verification-worker status",
        "verification-worker dead-letters list",
        "verification-worker sandbox --table    # other ID numbers, other answers",
        "PGOPTIONS='-c role=verification_reader' psql \"$DATABASE_URL\" \\",
        "  -c 'SELECT request_id, outcome, charged, calls FROM verification_v1.results'",
    )
    try:
        while stage.is_working():
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        return
    raise NotAsExpected("the worker has ended by itself")


def _refuse_queue_in_use(url: str) -> None:
    """Raise NotOurs where somebody works with this broker's request queue already.

    Their worker would send invented people to the provider, and ours would answer their requests
    from the sandbox.
    """
    try:
        with opened(url, "demonstration") as connection:
            waiting, consumers = queue_counts(connection, REQUESTS)
    except NotProvisioned:  # there is no such queue yet
        return
    except AmqpError as error:
        raise StackError(f"the broker of AMQP_URL cannot be used: {error}") from error
    if waiting or consumers:
        raise NotOurs(
            f"the queue {REQUESTS} of AMQP_URL is in use ({consumers} consumers, "
            f"{waiting} messages): give the demonstration a vhost of its own"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
