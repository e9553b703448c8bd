"""The housekeeper: one thread that runs each chore at its interval."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING, Protocol

import structlog

from worker.ports import LedgerUnavailable
from worker.telemetry.events import LogEvent
from worker.telemetry.logs import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.ports import Clock

# Replicas are started together; a fifth of the interval is enough to draw them apart.
JITTER = 0.2
# Between a SIGTERM and the end of a statement that is running; none of ours takes a second.
STOP_SECONDS = 5.0


class Chore(Protocol):
    """Something that is done again and again."""

    @property
    def interval(self) -> float:
        """Seconds from one run to the next, jitter apart."""
        ...

    @property
    def limit(self) -> int:
        """How much one run does at most."""
        ...

    def run_once(self) -> int:
        """Do a bounded part and return how much it was; `limit` or more: there may be more."""
        ...

    def interrupt(self) -> None:
        """Let a run that waits return soon; from any thread."""
        ...


class Housekeeper:
    """Runs chores until it is stopped.

    `chance` returns a number from 0 to 1. `on_failure` is called when a chore raised what nobody
    expected: the process should stop.
    """

    def __init__(
        self,
        chores: Sequence[Chore],
        clock: Clock,
        chance: Callable[[], float],
        on_failure: Callable[[], None],
    ) -> None:
        self._chores = chores
        self._clock = clock
        self._chance = chance
        self._on_failure = on_failure
        self._log = structlog.get_logger()
        self._failures = 0
        self._stopping = Event()
        # A statement that hangs must not keep the process alive.
        self._thread = Thread(target=self._guarded, name="housekeeper", daemon=True)

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start; each chore is first due after an interval."""
        self._thread.start()

    def stop(self, timeout: float = STOP_SECONDS) -> bool:
        """Begin no further run, and wait for the one that is under way; True when it has ended."""
        self._stopping.set()
        for chore in self._chores:
            chore.interrupt()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _guarded(self) -> None:
        """Run the thread's top loop; what nobody expected is reported and stops the process."""
        try:
            self._keep_house()
        except Exception as error:  # noqa: BLE001  # top loop
            self._log.error(LogEvent.FAILED, **describe(error))
            self._on_failure()

    def _keep_house(self) -> None:
        due = [self._later(chore) for chore in self._chores]
        while due:
            # The longest due comes first, so that no backlog keeps the other chores waiting.
            first = min(range(len(due)), key=due.__getitem__)
            if self._stopping.wait(max(0.0, due[first] - self._clock.monotonic())):
                return
            chore = self._chores[first]
            due[first] = self._clock.monotonic() if self._run(chore) else self._later(chore)

    def _later(self, chore: Chore) -> float:
        spread = 1.0 + JITTER * (2.0 * self._chance() - 1.0)
        return self._clock.monotonic() + chore.interval * spread

    def _run(self, chore: Chore) -> bool:
        """Run a chore once; True: there may be more to do at once."""
        try:
            done = chore.run_once()
        except LedgerUnavailable as error:
            # The pipeline says it too, again and again; here once is enough.
            self._failures += 1
            if self._failures == 1:
                self._log.warning(LogEvent.DATABASE_UNAVAILABLE, reason=str(error), tries=1)
            return False
        if self._failures:
            self._log.info(LogEvent.DATABASE_BACK, tries=self._failures)
            self._failures = 0
        return done >= chore.limit
