"""`verification-worker pause` and `resume`: no worker begins a call in between."""

import getpass
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from worker.admin.cells import duration
from worker.cli.mistakes import UserMistake, open_database
from worker.cli.tables import counted, note
from worker.cli.usage import refuse_ignored
from worker.contract.names import rfc3339
from worker.core.operations import NOTICE_SECONDS, check_reason
from worker.settings import DatabaseSettings, load
from worker.store.fleet import PostgresPause
from worker.telemetry.clock import SystemClock

# Between looks at the ledger: a call takes a second or so.
_LOOK_EVERY = 0.5


def pause(
    context: typer.Context,
    reason: Annotated[
        str, typer.Option(help="Why, for those who look: at most 200 characters, nobody's data.")
    ] = "no reason given",
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when no call is under way any more.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that --wait waits at most.")
    ] = 120.0,
) -> None:
    """Let no worker begin a call until `resume`; what is under way is finished.

    The order stands in the database and every worker follows it within 3 seconds, those that
    start later too. They stop consuming, hand back what they hold, and count no attempt. With
    --wait, exit code 1 says that calls are still under way; the pause stands all the same.
    """
    if not wait:
        refuse_ignored(context, ["timeout"], "is for --wait")
    try:
        words = check_reason(reason)
    except ValueError as error:
        raise UserMistake(f"--reason: {error}") from None
    with _opened() as order:
        hold = order.pause(words, whoever())
        note(f"paused since {rfc3339(hold.since, 'seconds')} by {hold.by}: {hold.reason}")
        if not wait:
            note(f"workers notice within {NOTICE_SECONDS:g} s; what is under way is finished")
            return
        left = _await_quiet(order, timeout)
    if left:
        note(f"{counted(left, 'call')} still under way after {timeout:g} s; the pause stands")
        sys.exit(1)
    note("no call is under way")


def resume() -> None:
    """Let the workers go on: each begins within 3 seconds."""
    with _opened() as order:
        hold = order.resume()
    if hold is None:
        note("nothing was paused")
        return
    length = duration(SystemClock().now() - hold.since)
    note(f"resumed after {length}; it was paused by {hold.by}: {hold.reason}")


def _await_quiet(order: PostgresPause, timeout: float) -> int:
    """Return how many calls are under way when that is 0, or when the time is over."""
    began = time.monotonic()
    # Before that, one who has not noticed yet may begin another call.
    time.sleep(NOTICE_SECONDS)
    while (left := order.calls_under_way()) and time.monotonic() - began < timeout:
        time.sleep(_LOOK_EVERY)
    return left


def whoever() -> str:
    """Return who gives the order: in a container a number has no name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


@contextmanager
def _opened() -> Iterator[PostgresPause]:
    with open_database(load(DatabaseSettings), "pause") as engine:
        yield PostgresPause(engine)
