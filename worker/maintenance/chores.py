"""Lapsed leases: requests that nobody works on any more get their books put in order."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import structlog

from worker.telemetry.events import LogEvent

if TYPE_CHECKING:
    from worker.ports import Leases


class LapsedLeases:
    """Settles what crashed workers left open.

    No call is made from here, for a row holds no personal data: a request ends only where no
    further call may be made, and otherwise waits for its message. The relay announces what ended.
    """

    # Leases count as lapsed after ten minutes: a minute more matters to nobody.
    interval = 60.0
    # One statement, a few milliseconds.
    limit = 100

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._log = structlog.get_logger()
        self._reached = False

    def run_once(self) -> int:
        """Settle a batch of requests; return how many.

        While the database was away every lease may have lapsed, and workers still hold paid
        answers that they try to record once a second. They come first: settling begins when the
        database answered at the run before already.
        """
        reached, self._reached = self._reached, False
        kinds = self._leases.settle_lapsed(self.limit if reached else 0)
        self._reached = True
        if kinds:
            counts = Counter(kind or "waiting" for kind in kinds)
            self._log.info(LogEvent.LEASES_SETTLED, **{str(kind): n for kind, n in counts.items()})
        return len(kinds)

    def interrupt(self) -> None:
        """One short statement: there is nothing to cut off."""
