"""The fleet's watch: learns of a pause that people order, within a second or so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from worker.ports import LedgerUnavailable

if TYPE_CHECKING:
    from worker.core.operations import Pause
    from worker.ports import Clock, PauseReader


class PauseListener(Protocol):
    """Who does what people order."""

    def obey(self, hold: Pause | None, asked_at: float) -> None:
        """Follow the order as it was at a time (monotonic clock)."""
        ...

    def miss(self, reason: str) -> None:
        """Learn why no order could be read; the last one holds."""
        ...


class PauseWatcher:
    """Tells a follower what people order.

    It needs a housekeeper of its own: behind the relay, which may wait ten seconds for confirms,
    it would be late. While the database cannot be read, the last word holds.
    """

    # A third of NOTICE_SECONDS, so that two looks fit in. One row by one session.
    interval = 1.0
    # There is never more to do.
    limit = 1

    def __init__(self, fleet: PauseReader, clock: Clock, follower: PauseListener) -> None:
        self._fleet = fleet
        self._clock = clock
        self._follower = follower

    def run_once(self) -> int:
        """Read the order and pass it on."""
        asked_at = self._clock.monotonic()
        try:
            hold = self._fleet.current()
        except LedgerUnavailable as error:
            self._follower.miss(str(error))
            raise
        self._follower.obey(hold, asked_at)
        return 0

    def look_first(self) -> bool:
        """Read the order before any work begins; False: the follower knows why not."""
        try:
            self.run_once()
        except LedgerUnavailable:
            return False
        return True

    def interrupt(self) -> None:
        """One short statement: there is nothing to cut off."""
