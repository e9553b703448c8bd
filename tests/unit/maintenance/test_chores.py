"""What the chores for leases and retention ask of the database, and what they say."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from worker.core.errors import LedgerUnavailable
from worker.core.outcome import ErrorKind
from worker.maintenance.chores import LapsedLeases
from worker.maintenance.retention import OldRequests
from worker.telemetry.events import LogEvent

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from worker.core.errors import Fault

DAY = 86_400.0


class FakeLeases:
    """The `Leases` of the ports: so many requests, each of a kind; `faults` come first."""

    def __init__(self, *kinds: ErrorKind | None) -> None:
        self.lapsed = list(kinds)
        self.faults: deque[Fault] = deque()

    def settle_lapsed(self, limit: int) -> list[ErrorKind | None]:
        """Settle up to a limit."""
        if self.faults:
            raise self.faults.popleft()
        settled, self.lapsed = self.lapsed[:limit], self.lapsed[limit:]
        return settled


class FakeRetention:
    """The `Retention` of the ports: so many requests to clear and to delete, and who asked."""

    def __init__(self, clear: int, delete: int) -> None:
        self._clear, self._delete = clear, delete
        self.asked: list[tuple[str, float]] = []

    def clear_personal(self, older_than: float, limit: int) -> int:
        """Clear up to a limit."""
        self.asked.append(("clear", older_than))
        return min(self._clear, limit)

    def delete(self, older_than: float, limit: int) -> int:
        """Delete up to a limit."""
        self.asked.append(("delete", older_than))
        return min(self._delete, limit)


def test_lapsed_requests_are_settled_and_counted_by_what_became_of_them(
    log: list[MutableMapping[str, Any]],
) -> None:
    leases = FakeLeases(None, None, ErrorKind.IN_DOUBT, ErrorKind.MESSAGE_LOST)
    chore = LapsedLeases(leases)
    chore.run_once()
    assert chore.run_once() == 4
    assert log == [
        {
            "event": LogEvent.LEASES_SETTLED,
            "log_level": "info",
            "waiting": 2,
            "in_doubt": 1,
            "message_lost": 1,
        }
    ]


def test_nothing_is_settled_before_the_database_has_answered_for_a_while() -> None:
    """Else answers that were paid in an outage would come after the verdict on their calls."""
    leases = FakeLeases(None)
    chore = LapsedLeases(leases)
    assert chore.run_once() == 0  # at the start nobody knows how long it has answered
    assert leases.lapsed == [None]
    leases.faults.append(LedgerUnavailable("away"))
    with pytest.raises(LedgerUnavailable):
        chore.run_once()
    assert chore.run_once() == 0
    assert leases.lapsed == [None]
    assert chore.run_once() == 1


@pytest.mark.parametrize(
    ("clear", "delete", "asked"),
    [
        (0, 0, []),  # never
        (30, 0, [("clear", 30 * DAY)]),
        (0, 365, [("delete", 365 * DAY)]),
        (30, 365, [("delete", 365 * DAY), ("clear", 30 * DAY)]),
    ],
)
def test_retention_goes_by_its_days(
    clear: float, delete: float, asked: list[tuple[str, float]]
) -> None:
    retention = FakeRetention(clear=1, delete=1)
    OldRequests(retention, clear_after_days=clear, delete_after_days=delete).run_once()
    assert retention.asked == asked


@pytest.mark.parametrize(
    ("clear", "delete", "size"), [(0, 0, 0), (3, 7, 7), (7, 3, 7), (900, 1, 500), (1, 900, 500)]
)
def test_a_run_is_as_large_as_its_larger_half(
    log: list[MutableMapping[str, Any]], clear: int, delete: int, size: int
) -> None:
    chore = OldRequests(FakeRetention(clear, delete), clear_after_days=30, delete_after_days=365)
    assert chore.run_once() == size
    said = [(line["event"], line["cleared"], line["deleted"]) for line in log]
    assert said == ([(LogEvent.RETAINED, min(clear, 500), min(delete, 500))] if size else [])
