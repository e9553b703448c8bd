"""Retention: what is about a person is kept so long, and the rest so long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from worker.telemetry.events import LogEvent

if TYPE_CHECKING:
    from worker.ports import Retention

_DAY = 86_400.0


class OldRequests:
    """Clears and deletes finished requests after so many days; 0 is never."""

    # Days do not need minutes; a backlog is worked off without pauses anyway.
    interval = 600.0
    # Rows in one transaction: some 10 ms, so that nobody waits for it.
    limit = 500

    def __init__(
        self, retention: Retention, *, clear_after_days: float, delete_after_days: float
    ) -> None:
        self._retention = retention
        self._clear_after = clear_after_days * _DAY
        self._delete_after = delete_after_days * _DAY
        self._log = structlog.get_logger()

    def run_once(self) -> int:
        """Clear a batch and delete a batch; return the size of the larger one."""
        cleared = deleted = 0
        # What is deleted need not be cleared before.
        if self._delete_after > 0:
            deleted = self._retention.delete(self._delete_after, self.limit)
        if self._clear_after > 0:
            cleared = self._retention.clear_personal(self._clear_after, self.limit)
        if cleared or deleted:
            self._log.info(LogEvent.RETAINED, cleared=cleared, deleted=deleted)
        return max(cleared, deleted)

    def interrupt(self) -> None:
        """Two short statements: there is nothing to cut off."""
