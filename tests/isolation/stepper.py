"""Runs sessions of one database in every order of their statements, as isolationtester does.

Each session is a thread that stops before each statement (and before the commit of a transaction
of several). The stepper lets one of them go at a time and waits until it stands at its next
statement, has ended, or waits in the server for a lock that another session holds.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Thread, local
from typing import Any

import psycopg

# A stalled machine takes seconds for what takes milliseconds; a stepper that hangs takes for ever.
PATIENCE = 120.0
_thread = local()


class Session(Thread):
    """One operation, held before each of its statements."""

    def __init__(self, name: str, work: Callable[[], None], changed: Condition) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self._changed = changed
        self.waits_at: str | None = None
        """The statement that it stands before."""
        self.ended = False
        self.error: BaseException | None = None
        self.pid = 0

    def run(self) -> None:
        """Do the operation."""
        _thread.session = self
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  # the stepper raises it
            self.error = error
        with self._changed:
            self.ended, self.waits_at = True, None
            self._changed.notify_all()

    def reach(self, statement: str, pid: int) -> None:
        """Stand before a statement until the stepper lets go."""
        with self._changed:
            self.waits_at, self.pid = statement, pid
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.waits_at is None)

    def go(self) -> None:
        """Let it do what it stands before."""
        self.waits_at = None
        self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Step:
    """One choice: the session that went, of those that could."""

    chosen: int
    ready: tuple[int, ...]
    before: int | None
    """The session that went before."""
    words: str

    def interrupts(self, chosen: int) -> bool:
        """Return whether another choice leaves a session in the middle of its work."""
        return chosen != self.before and self.before in self.ready


class Stepper:
    """Finds every order; `monitor` is a session of its own that sees who waits for whom.

    At most `interruptions` of each order leave a session that could go on: an error that takes more
    of them is rare, and the orders are many. None: there is no limit.
    """

    def __init__(self, monitor: psycopg.Connection[Any], interruptions: int | None = 2) -> None:
        self._monitor = monitor
        self._interruptions = interruptions

    def orders(
        self, prepare: Callable[[], Sequence[tuple[str, Callable[[], None]]]]
    ) -> Iterator[list[Step]]:
        """Prepare and run the operations anew for each order of their statements; yield each."""
        open_prefixes: list[list[int]] = [[]]
        while open_prefixes:
            prefix = open_prefixes.pop()
            steps = self._run(prepare(), prefix)
            interruptions = sum(step.interrupts(step.chosen) for step in steps[: len(prefix)])
            for place in range(len(prefix), len(steps)):
                step, before = steps[place], [step.chosen for step in steps[:place]]
                for other in step.ready:
                    total = interruptions + step.interrupts(other)
                    allowed = self._interruptions is None or total <= self._interruptions
                    if other != step.chosen and allowed:
                        open_prefixes.append([*before, other])
            yield steps

    def _run(
        self, operations: Sequence[tuple[str, Callable[[], None]]], prefix: list[int]
    ) -> list[Step]:
        changed = Condition()
        sessions = [Session(name, work, changed) for name, work in operations]
        steps: list[Step] = []
        for session in sessions:
            session.start()
        while not all(session.ended for session in sessions):
            self._settle(sessions, changed)
            ready = tuple(n for n, each in enumerate(sessions) if each.waits_at is not None)
            if not ready:
                continue  # all that live wait for locks: the server ends one of them
            before = steps[-1].chosen if steps else None
            chosen = before if before is not None and before in ready else ready[0]
            if len(steps) < len(prefix):
                chosen = prefix[len(steps)]
            session = sessions[chosen]
            words = f"{session.name}: {session.waits_at}"
            steps.append(Step(chosen, ready, before, words))
            with changed:
                session.go()
        for session in sessions:
            session.join(PATIENCE)
            if session.error is not None:
                raise AssertionError(described(steps)) from session.error
        return steps

    def _settle(self, sessions: Sequence[Session], changed: Condition) -> None:
        """Wait until nobody moves: all stand before a statement, have ended, or wait for a lock."""
        end = time.monotonic() + PATIENCE
        while True:
            with changed:
                moving = [each for each in sessions if not each.ended and each.waits_at is None]
                if not moving:
                    return
                blocked = [each for each in moving if self._is_blocked(each.pid)]
                if len(blocked) == len(moving) < sum(not each.ended for each in sessions):
                    return
                changed.wait(0.002)
            if time.monotonic() > end:
                raise TimeoutError(f"{[each.name for each in moving]} neither move nor wait")

    def _is_blocked(self, pid: int) -> bool:
        query = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
        (blocked,) = self._monitor.execute(query, (pid,)).fetchone() or (False,)
        return bool(blocked)


def described(steps: Sequence[Step]) -> str:
    """Return an order, a statement a line."""
    return "in this order:\n" + "\n".join(f"  {step.words}" for step in steps)


@contextmanager
def stepping() -> Iterator[None]:
    """Let statements of sessions stop; those of any other thread run as ever."""
    execute, commit = psycopg.Cursor.execute, psycopg.Connection.commit

    def stopping_execute(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        session: Session | None = getattr(_thread, "session", None)
        if session is not None:
            session.reach(_words(query), cursor.connection.info.backend_pid)
        return execute(cursor, query, *arguments, **options)

    def stopping_commit(connection: Any) -> None:
        session: Session | None = getattr(_thread, "session", None)
        if session is not None and not connection.autocommit:
            session.reach("COMMIT", connection.info.backend_pid)
        commit(connection)

    psycopg.Cursor.execute = stopping_execute  # type: ignore[method-assign,assignment]
    psycopg.Connection.commit = stopping_commit  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        psycopg.Cursor.execute = execute  # type: ignore[method-assign]
        psycopg.Connection.commit = commit  # type: ignore[method-assign]


def _words(query: object) -> str:
    """Return a statement's beginning and its tables, enough to know it by."""
    words = " ".join(str(query).split())
    return words if len(words) < 90 else f"{words[:60]} … {words[-25:]}"
