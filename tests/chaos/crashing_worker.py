"""A worker, or a replay, that kills itself at one step, at the n-th time that it comes there.

    python -m tests.chaos.crashing_worker <step> <nth> [<command> ...]

It is the real command (`run` unless another is given) in the worker's environment; one method is
wrapped before it starts. A step's name may end in `:<kind>`, the kind of settlement that counts
(see `kind_of`).
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import ModuleType
from typing import Any, LiteralString

import psycopg
from pika.channel import Channel
from psycopg.waiting import Wait

from worker.amqp.dead_letter_queue import HeldDeadLetters
from worker.amqp.publisher import BackgroundPublisher, PublishChannel
from worker.amqp.session import Session
from worker.amqp.settler import Settler
from worker.cli import main
from worker.contract.names import DEAD
from worker.contract.request_v1 import RequestReader
from worker.core.delivery import Settlement
from worker.core.request import Lane
from worker.deadletters.selecting import Acting
from worker.maintenance.relay import Relay
from worker.pipeline.flow import Flow
from worker.pipeline.runner import Pipeline
from worker.provider.client import PersonalAuthClient
from worker.provider.deadline import ArmedCall
from worker.provider.watched_pool import WatchedConnection
from worker.store import booking, ledger, quota_row, statements
from worker.store.engine import compiled

_ANSWER_SECONDS = 60.0


def die(*_: object, **__: object) -> None:
    """End as the kernel's out-of-memory killer would: nothing is flushed, closed or said."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Moment:
    """A method or function, and when to die: before or after those of its calls that count."""

    owner: type | ModuleType
    method: str
    after: bool = False
    counts: Callable[..., bool] = lambda *_, **__: True
    """Whether a call counts; asked before the method runs, with its arguments."""
    strike: Callable[..., object] = die
    """What to do at the n-th, with the method's arguments."""
    later_too: bool = False
    """Whether those after the n-th are struck as well: it waits, and they must not pass it."""

    def wrap(self, nth: int) -> None:
        """Wrap the method."""
        original = getattr(self.owner, self.method)
        hits = itertools.count(1)

        @wraps(original)
        def wrapped(*args: Any, **options: Any) -> Any:
            counts = self.counts(*args, **options)
            if counts and not self.after:
                hit = next(hits)
                if hit == nth or (self.later_too and hit > nth):
                    self.strike(*args, **options)
            result = original(*args, **options)
            if counts and self.after and next(hits) == nth:
                self.strike(*args, **options)
            return result

        setattr(self.owner, self.method, wrapped)


SECRET = "words that may quote data"


def _fail(*_: object) -> None:
    raise RuntimeError(SECRET)


# Which settlements count


def kind_of(settlement: Settlement) -> str:
    """Name a settlement: result, rejected, dead_letter, unreadable, or the log's word for it."""
    action = str(settlement.line.get("action"))
    if action != "completed":
        return "unreadable" if action == "dead_lettered" else action
    if any(each.routing_key == DEAD for each in settlement.publications):
        return "dead_letter"
    return "rejected" if settlement.line["outcome"] == "rejected" else "result"


def _has(kind: str, settlements: Any) -> bool:
    return any(each is not None and kind_of(each) == kind for each in settlements)


# Which statements count


# These go through SQLAlchemy, which compiles them to the same.
_TAKE_OVER = compiled(statements.TAKE_OVER.text)
_BOOK = compiled(booking.BOOK.text)
_RETURN_TOKENS = compiled(quota_row.RETURN_TOKENS.text)


def _is(statement: str) -> Callable[..., bool]:
    return lambda _cursor, executed, *_, **__: executed == statement


def _records_entries(
    _cursor: object, executed: object, parameters: Any = None, **_: object
) -> bool:
    return executed == statements.RECORD and parameters["batch"] != "[]"


def _marks_events(_cursor: object, executed: object, parameters: Any = None, **_: object) -> bool:
    return executed == statements.RECORD and bool(parameters["announced"])


# How to die at a step that no single call of a method is


def _when_sent(*_: object, **__: object) -> None:
    """Die as soon as the statement that comes now is on its way: the server will commit it."""
    here = threading.get_ident()
    original: Any = psycopg.Connection.wait

    def wait(self: Any, steps: Any, *args: Any, **options: Any) -> Any:
        if threading.get_ident() == here:
            # The driver asks to read when its own buffer is empty: all bytes are the kernel's.
            assert next(steps) == Wait.R
            die()
        return original(self, steps, *args, **options)

    psycopg.Connection.wait = wait  # type: ignore[assignment]


def _when_committed(*_: object, **__: object) -> None:
    """Die when this thread's transaction is committed, before anybody knows."""
    here, original = threading.get_ident(), psycopg.Connection.commit

    def commit(self: psycopg.Connection[Any]) -> None:
        original(self)
        if threading.get_ident() == here:
            die()

    psycopg.Connection.commit = commit  # type: ignore[method-assign]


def _when_answered(connection: WatchedConnection, *_: object) -> None:
    """Die with the provider's answer in the socket, unread: the call has been charged."""
    assert select.select([connection.sock], [], [], _ANSWER_SECONDS)[0]
    die()


def _when_written(connection: Any) -> None:
    """Die when the loop has handed all that was written on this connection to the kernel."""
    if connection._transport.get_write_buffer_size():
        connection.ioloop.call_later(0, lambda: _when_written(connection))
    else:
        die()


def _database_steps(
    name: str, counts: Callable[..., bool], *, done: str
) -> dict[str, tuple[Moment, ...]]:
    return {
        f"{name}_unsent": (Moment(psycopg.Cursor, "execute", counts=counts),),
        f"{name}_sent": (Moment(psycopg.Cursor, "execute", counts=counts, strike=_when_sent),),
        done: (Moment(psycopg.Cursor, "execute", after=True, counts=counts),),
    }


def _way_out(kind: str) -> dict[str, tuple[Moment, ...]]:
    """Return the steps of a settlement, in their order."""

    def groups(_self: object, groups: Any) -> bool:
        return _has(kind, [group.settlement for group in groups])

    def entries(_self: object, entries: Any, *_: object) -> bool:
        return groups(_self, [group for group, _ in entries])

    def settled(settler: Settler) -> bool:
        return _has(kind, settler._settled)

    def published(channel: Any, *_: object) -> None:
        connection = channel._channel.connection
        connection.ioloop.call_later(0, lambda: _when_written(connection))

    def acked(settler: Any) -> None:
        _when_written(settler._consumers[Lane.LIVE]._pika)

    moments = {
        "unpublished": Moment(Session, "settle", counts=lambda _, settled: _has(kind, settled)),
        "published": Moment(
            PublishChannel,
            "publish",
            after=True,
            counts=lambda _, entry: entries(_, [entry]),
            strike=published,
        ),
        "confirm_unread": Moment(BackgroundPublisher, "confirmed", counts=entries),
        "unacked": Moment(Settler, "finish", after=True, counts=groups),
        "ack_unsent": Moment(Settler, "flush", after=True, counts=settled),
        "acked": Moment(Settler, "flush", after=True, counts=settled, strike=acked),
    }
    return {f"{name}:{kind}": (moment,) for name, moment in moments.items()}


def _meanwhile(*statements: LiteralString) -> Moment:
    """Return the moment after the first decision, in which somebody else does this to the rows."""

    def do(*_: object, **__: object) -> None:
        with psycopg.connect(os.environ["DATABASE_URL"]) as database:
            for statement in statements:
                database.execute(statement)

    return Moment(Flow, "decide", after=True, strike=do)


def _stopping(owner: type, method: str) -> tuple[Moment, ...]:
    """Return the steps of a worker that is told to stop at its n-th call, and dies on the way."""
    return _TOLD_TO_STOP, Moment(owner, method, after=True)


_TAKEN_OVER = _meanwhile(
    """UPDATE verification.request
          SET grants = grants + 1, lease_owner = 'another', lease_until = now(),
              in_doubt_calls = in_doubt_calls + 1, charged = 'unknown'
        WHERE state = 'working'""",
    """UPDATE verification.provider_call
          SET class = 'in_doubt', charged = 'unknown', finished_at = now()
        WHERE finished_at IS NULL""",
)
_VANISHED = _meanwhile(
    "DELETE FROM verification.provider_call WHERE finished_at IS NULL",
    "DELETE FROM verification.request WHERE state = 'working'",
)
_TOLD_TO_STOP = Moment(Flow, "call", strike=lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
KINDS = "result rejected dead_letter unreadable retrying held_elsewhere replayed conflict".split()
STEPS: dict[str, tuple[Moment, ...]] = {
    "delivered": (Moment(Pipeline, "deliver"),),
    "parsed": (Moment(RequestReader, "read", after=True),),
    **_database_steps("claim", _is(statements.CLAIM), done="claim_answer_unread"),
    **_database_steps("take_over", _is(_TAKE_OVER), done="take_over_answer_unread"),
    "claimed": (Moment(Flow, "call"),),
    "call_unsent": (Moment(ArmedCall, "send_on", after=True),),
    "call_charged": (
        Moment(WatchedConnection, "getresponse", strike=_when_answered, later_too=True),
    ),
    "answered": (Moment(PersonalAuthClient, "verify", after=True),),
    "decided": (Moment(Flow, "decide", after=True),),
    **_database_steps("record", _records_entries, done="record_answer_unread"),
    "late_unbooked": (_TAKEN_OVER, Moment(psycopg.Cursor, "execute", counts=_is(_BOOK))),
    "late_uncommitted": (_TAKEN_OVER, Moment(ledger, "book", after=True)),
    "late_booked": (_TAKEN_OVER, Moment(ledger, "book", after=True, strike=_when_committed)),
    "vanished_restored": (_VANISHED, Moment(ledger, "book", after=True, strike=_when_committed)),
    "tokens_unreturned": (Moment(psycopg.Cursor, "execute", counts=_is(_RETURN_TOKENS)),),
    "tokens_returned": (
        Moment(
            psycopg.Cursor,
            "execute",
            after=True,
            counts=_is(_RETURN_TOKENS),
            strike=_when_committed,
        ),
    ),
    **{name: moments for kind in KINDS for name, moments in _way_out(kind).items()},
    **_database_steps("mark", _marks_events, done="marked"),
    "stopping_consumer_stopped": _stopping(Session, "stop_consuming"),
    "stopping_pipeline_stopped": _stopping(Pipeline, "stop"),
    "stopping_drained": _stopping(Session, "drain"),
    "stopping_marks_flushed": _stopping(Pipeline, "flush_announced"),
    "stopping_closed": _stopping(Session, "close"),
    # The last statement on the way out, when all is recorded: the connections are still open.
    "way_out_hangs": (Moment(Relay, "flush", strike=lambda *_: threading.Event().wait()),),
    "way_out_fails": (Moment(Relay, "flush", strike=_fail),),
    "replay_read": (Moment(Acting, "replay"),),
    "replay_unpublished": (Moment(HeldDeadLetters, "publish"),),
    "replay_published": (
        Moment(Channel, "basic_publish", after=True, strike=lambda *_, **__: die()),
    ),
    "replay_confirmed": (Moment(HeldDeadLetters, "publish", after=True),),
    "replay_acked": (Moment(HeldDeadLetters, "acknowledge", after=True),),
    "replay_letting_go": (Moment(HeldDeadLetters, "let_go"),),
}


def wrap(step: str, nth: int) -> None:
    """Wrap what the step needs. The n-th counts for its first moment."""
    first, *others = STEPS[step]
    first.wrap(nth)
    for moment in others:
        moment.wrap(1)


if __name__ == "__main__":
    step, nth, *command = sys.argv[1:]
    wrap(step, int(nth))
    sys.argv = ["verification-worker", *(command or ["run"])]
    main()
