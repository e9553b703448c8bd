"""The housekeeper: one thread that runs each chore at its interval."""

from collections.abc import Callable, Sequence
from threading import Event, Thread

import structlog

from worker.maintenance.chores import Chore
from worker.ports import Clock, LedgerUnavailable
from worker.telemetry.logs import LogEvent, describe

# Replicas are started together; a fifth of the interval is enough to draw them apart.
JITTER = 0.2
# Between a SIGTERM and the end of a statement that is running; none of ours takes a second.
STOP_SECONDS = 5.0


class Housekeeper:
    """Runs chores until it is stopped; `name` is its thread's.

    `chance` returns a number from 0 to 1. `on_failure` is called when a chore raised what nobody
    expected: the process should stop.
    """

    def __init__(
        self,
        name: str,
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
        self._failures: dict[str, int] = {}
        """By chore. Only a chore that has failed can say that the database is back."""
        self._stopping = Event()
        # A statement that hangs must not keep the process alive.
        self._thread = Thread(target=self._guarded, name=name, daemon=True)

    @property
    def name(self) -> str:
        """The thread's name."""
        return self._thread.name

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start; each chore is first due after its `first_after`, or else its interval."""
        self._thread.start()

    def run_now(self) -> None:
        """Run each chore once before the start, on this thread."""
        for chore in self._chores:
            self._run(chore)

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
            self._run_when_due()
        except Exception as error:  # noqa: BLE001  # top loop
            self._log.error(LogEvent.FAILED, **describe(error))
            self._on_failure()

    def _run_when_due(self) -> None:
        due = [self._later(each.first_after or each.interval) for each in self._chores]
        while due:
            # The longest due comes first, so that no backlog keeps the other chores waiting.
            first = min(range(len(due)), key=due.__getitem__)
            if self._stopping.wait(max(0.0, due[first] - self._clock.monotonic())):
                return
            chore = self._chores[first]
            due[first] = self._later(0.0 if self._run(chore) else chore.interval)

    def _later(self, seconds: float) -> float:
        spread = 1.0 + JITTER * (2.0 * self._chance() - 1.0)
        return self._clock.monotonic() + seconds * spread

    def _run(self, chore: Chore) -> bool:
        """Run a chore once; True: there may be more to do at once."""
        try:
            done = chore.run_once()
        except LedgerUnavailable as error:
            # The pipeline says it too, again and again; here once is enough.
            if not self._failures:
                facts = {"reason": str(error), "tries": 1, "chore": chore.name}
                self._log.warning(LogEvent.DATABASE_UNAVAILABLE, **facts)
            self._failures[chore.name] = self._failures.get(chore.name, 0) + 1
            return False
        if (tries := self._failures.pop(chore.name, 0)) and not self._failures:
            self._log.info(LogEvent.DATABASE_BACK, tries=tries)
        return done >= chore.limit
