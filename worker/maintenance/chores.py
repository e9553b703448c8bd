"""The chores that ask the database, as plain functions; the relay has a module of its own."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from worker.core.operations import Backlog, Blocker, DatabaseServer, Pause, WorkerState
from worker.core.outcome import ErrorKind
from worker.core.timing import DAY
from worker.ports import Clock, LedgerUnavailable
from worker.telemetry.logs import LogEvent

# Of what cannot be counted now. While the database is away no messages are taken, so more is there
# only where this alone is refused.
_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Chore:
    """Something that is done again and again."""

    name: str
    interval: float
    """Seconds from one run to the next, jitter apart."""
    limit: int
    """How much one run does at most."""
    run_once: Callable[[], int]
    """Does a bounded part and returns how much it was; `limit` or more: there may be more."""
    interrupt: Callable[[], None] = lambda: None
    """Lets a run that waits return soon, from any thread; short statements need not be cut off."""
    first_after: float | None = None
    """Seconds until the first run; None: an interval."""


def lapsed_leases(settle: Callable[[int], list[ErrorKind | None]]) -> Chore:
    """Settle requests that nobody works on any more.

    `settle` says of up to so many requests why each failed; None: it waits for its message. No
    call is made, for rows hold no personal data: a request ends only where no further call may be
    made, and the relay announces it.
    """
    log = structlog.get_logger()
    limit = 100  # one statement, a few milliseconds
    reached = False

    def run_once() -> int:
        """Settle nothing unless the database answered at the run before already.

        While it was away every lease may have lapsed, and workers still hold paid answers that
        they try to record once a second. They come first.
        """
        nonlocal reached
        may_settle, reached = reached, False
        kinds = settle(limit if may_settle else 0)
        reached = True
        if kinds:
            counts = Counter(kind or "waiting" for kind in kinds)
            log.info(LogEvent.LEASES_SETTLED, **{str(kind): n for kind, n in counts.items()})
        return len(kinds)

    # Leases count as lapsed after ten minutes: a minute more matters to nobody.
    return Chore("lapsed leases", 60.0, limit, run_once)


def old_requests(
    clear: Callable[[float, int], int],
    delete: Callable[[float, int], int],
    *,
    clear_after_days: float,
    delete_after_days: float,
) -> Chore:
    """Clear and delete finished requests after so many days; 0 is never.

    `clear` and `delete` do so with up to so many requests that ended so many seconds ago.
    """
    log = structlog.get_logger()
    limit = 500  # rows in one transaction: some 10 ms, so that nobody waits for it

    def run_once() -> int:
        """Return the size of the larger half. What is deleted need not be cleared before."""
        deleted = delete(delete_after_days * DAY, limit) if delete_after_days > 0 else 0
        cleared = clear(clear_after_days * DAY, limit) if clear_after_days > 0 else 0
        if cleared or deleted:
            log.info(LogEvent.RETAINED, cleared=cleared, deleted=deleted)
        return max(cleared, deleted)

    # Days do not need minutes; a backlog is worked off without pauses anyway.
    return Chore("old requests", 600.0, limit, run_once)


def pause_reader(
    read: Callable[[], Pause | None],
    clock: Clock,
    set_pause: Callable[[Pause | None, float], None],
    pause_unknown: Callable[[str], None],
) -> Chore:
    """Let the gate know within a second or so whether people have paused all workers.

    It needs a housekeeper of its own: behind the relay, which may wait ten seconds for confirms,
    it would be late. While the database cannot be read, what was read last holds.
    """

    def run_once() -> int:
        asked_at = clock.monotonic()
        try:
            pause = read()
        except LedgerUnavailable as error:
            pause_unknown(str(error))
            raise
        set_pause(pause, asked_at)
        return 0

    # A third of what is promised (`core.operations`): two looks fit in. One row by one session.
    return Chore("pause", 1.0, 1, run_once)


def registry(
    state: Callable[[], WorkerState], report: Callable[[WorkerState], None], clock: Clock
) -> Chore:
    """Say what this worker does: soon after each change, and every ten seconds."""
    said: tuple[str, str | None] | None = None
    said_at = 0.0

    def run_once() -> int:
        nonlocal said, said_at
        now, is_now = clock.monotonic(), state()
        if (is_now.state, is_now.reason) != said or now - said_at >= 10.0:
            report(is_now)
            said, said_at = (is_now.state, is_now.reason), now
        return 0

    return Chore("registry", 2.0, 1, run_once, first_after=0.1)


def lock_watcher(
    database_answers: Callable[[], bool], blocker: Callable[[], Blocker | None], clock: Clock
) -> Chore:
    """Say who holds up this worker's statements, once a minute while they wait for long.

    It asks while they wait: who has given up waits for nobody. And on a thread of its own.
    """
    log = structlog.get_logger()
    say_next_at = 0.0

    def run_once() -> int:
        nonlocal say_next_at
        found = None
        if clock.monotonic() >= say_next_at and not database_answers():
            found = blocker()
        if found is not None:
            log.warning(LogEvent.DATABASE_BLOCKED, reason=str(found))
            say_next_at = clock.monotonic() + 60.0
        return 0

    return Chore("locks", 1.0, 1, run_once)


def turned_away(
    take: Callable[[], list[tuple[object, object]]],
    put_back: Callable[[list[tuple[object, object]]], None],
    save: Callable[[Mapping[tuple[object, object], int]], None],
) -> Chore:
    """Count, by source and reason, the messages that were settled without a row of their own.

    One is counted when it is acknowledged: again where that was lost with the connection, and not
    at all where the worker is killed within seconds.
    """

    def run_once() -> int:
        if messages := take():
            try:
                save(Counter(messages))
            except LedgerUnavailable:
                put_back(messages[:_KEPT])
                raise
        return 0

    return Chore("turned away", 5.0, 1, run_once)


class BacklogMonitor:
    """Keeps the last backlog for probes and scrapes, which must not wait for a database."""

    def __init__(
        self, read: Callable[[], Backlog], server: Callable[[], DatabaseServer], clock: Clock
    ) -> None:
        self._read = read
        self._read_server = server
        self._clock = clock
        self.backlog: Backlog | None = None
        """What was read last; None before the first time and while the database is away."""
        self.server: DatabaseServer | None = None
        """The same of its server."""
        self.clock_offset = 0.0
        """Seconds that this machine's clock was ahead of the database's, at least."""
        self.failed = False
        """Whether the last attempt was in vain."""
        # As often as Prometheus usually asks; just after its start a worker is looked at most.
        self.chore = Chore("backlog", 15.0, 1, self._run_once, first_after=0.5)

    def _run_once(self) -> int:
        try:
            self.backlog = self._read()
            before = self._clock.now()
            self.server = self._read_server()
            after = self._clock.now()
        except LedgerUnavailable:
            self.backlog, self.server, self.failed = None, None, True
            raise
        self.clock_offset = _beyond(self.server.at, before, after)
        self.failed = False
        return 0


def _beyond(told: datetime, before: datetime, after: datetime) -> float:
    """Return how far our clock is ahead (or, below 0, behind) of a time that was told meanwhile.

    `before` and `after` are our own times around the question: any time in between may be right.
    """
    if told < before:
        return (before - told).total_seconds()
    return min(0.0, (after - told).total_seconds())
