"""Work that needs the database, done again and again while it is away."""

from collections.abc import Callable
from math import inf
from threading import Event, current_thread
from typing import TypeVar

import structlog

from worker.ports import Clock, LedgerUnavailable
from worker.telemetry.logs import LogEvent

T = TypeVar("T")

# Seconds between tries at a database that is away: a restart takes 1 to 5 s, and a hundred
# replicas that ask once a second do not hurt it.
RETRY_PAUSE = 1.0
# A statement takes milliseconds; one that waits longer waits for something broken.
STUCK_AFTER = 5.0


# Seconds between two lines that say that it is still away: a try may take ten.
SAY_EVERY = 60.0


class DatabaseRetry:
    """Knows which threads wait for the database, and since when.

    `set_away` is told when one has waited for `away_after` seconds, and when none waits any more.
    """

    def __init__(self, clock: Clock, away_after: float, set_away: Callable[[bool], None]) -> None:
        self._clock = clock
        self._away_after = away_after
        self._set_away = set_away
        self._log = structlog.get_logger()
        self._unavailable: dict[str, float] = {}
        self.problem = ""
        """Why it cannot be used now, as far as somebody knows."""
        self._asked_at: dict[str, float] = {}

    @property
    def database_answers(self) -> bool:
        """Whether no thread waits for the database now, or has waited for long for an answer."""
        since = min(self._asked_at.copy().values(), default=None)
        stuck = since is not None and self._clock.monotonic() - since > STUCK_AFTER
        return not self._unavailable and not stuck

    def keep_trying(self, work: Callable[[], T], give_up: Event) -> T | None:
        """Do the work until it is done; None when told to give up."""
        failures, say_at, thread = 0, -inf, current_thread().name
        while True:
            self._asked_at[thread] = self._clock.monotonic()
            try:
                result = work()
            except LedgerUnavailable as error:
                failures += 1
                self.problem = str(error)
                now = self._clock.monotonic()
                if now - self._unavailable.setdefault(thread, now) >= self._away_after:
                    self._set_away(True)
                if now >= say_at:
                    say_at = now + SAY_EVERY
                    self._log.warning(
                        LogEvent.DATABASE_UNAVAILABLE, reason=self.problem, tries=failures
                    )
                if give_up.wait(RETRY_PAUSE):
                    return None
            else:
                if failures:
                    self.problem = ""
                    self._unavailable.pop(thread, None)
                    if not self._unavailable:
                        self._set_away(False)
                    self._log.info(LogEvent.DATABASE_BACK, tries=failures)
                return result
            finally:
                del self._asked_at[thread]
