"""The backlog_monitor: looks at the database for the metrics and for readiness.

Probes and scrapes must not wait for a database, so they are told what was last seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.ports import LedgerUnavailable

if TYPE_CHECKING:
    from worker.core.operations import Backlog
    from worker.ports import BacklogReader

# What a worker says of itself just after its start is looked at most.
FIRST_LOOK = 0.5
# As often as Prometheus usually asks.
LOOK_EVERY = 15.0


class BacklogMonitor:
    """Keeps the last backlog, and forgets it when the database does not answer any more."""

    # No look leaves more to do.
    limit = 1

    def __init__(self, reader: BacklogReader) -> None:
        self._reader = reader
        self.interval = FIRST_LOOK
        self.backlog: Backlog | None = None
        """What the last look saw; None before the first and while the database is away."""
        self.failed = False
        """Whether the last look was in vain."""

    def run_once(self) -> int:
        """Look once."""
        self.interval = LOOK_EVERY
        try:
            self.backlog = self._reader.read()
        except LedgerUnavailable:
            self.backlog, self.failed = None, True
            raise
        self.failed = False
        return 0

    def interrupt(self) -> None:
        """One short statement: there is nothing to cut off."""
