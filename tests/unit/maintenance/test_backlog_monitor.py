"""The monitor keeps what it saw last, and nothing once the database is away."""

from __future__ import annotations

from collections import deque

import pytest

from worker.core.operations import Backlog
from worker.maintenance.backlog_monitor import FIRST_LOOK, LOOK_EVERY, BacklogMonitor
from worker.ports import LedgerUnavailable


class FakeBacklogReader:
    """The `BacklogReader` of the ports: what a script says."""

    def __init__(self, *script: Backlog | LedgerUnavailable) -> None:
        self._script = deque(script)

    def read(self) -> Backlog:
        """Say the next thing."""
        said = self._script.popleft()
        if isinstance(said, LedgerUnavailable):
            raise said
        return said


def known(monitor: BacklogMonitor) -> tuple[Backlog | None, bool]:
    return monitor.backlog, monitor.failed


def test_before_its_first_look_nothing_is_known_and_nothing_is_wrong() -> None:
    monitor = BacklogMonitor(FakeBacklogReader())
    assert known(monitor) == (None, False)


def test_the_first_look_comes_soon_and_the_others_at_the_pace_of_a_scrape() -> None:
    monitor = BacklogMonitor(FakeBacklogReader(Backlog()))
    assert monitor.interval == FIRST_LOOK
    assert monitor.run_once() < monitor.limit
    assert monitor.interval == LOOK_EVERY


def test_what_was_seen_is_forgotten_when_the_database_is_away_and_known_again_after() -> None:
    away = LedgerUnavailable("away")
    monitor = BacklogMonitor(
        FakeBacklogReader(Backlog(unsent_events=3), away, Backlog(unsent_events=5))
    )
    monitor.run_once()
    assert known(monitor) == (Backlog(unsent_events=3), False)
    with pytest.raises(LedgerUnavailable):
        monitor.run_once()
    assert known(monitor) == (None, True)
    monitor.run_once()
    assert known(monitor) == (Backlog(unsent_events=5), False)
