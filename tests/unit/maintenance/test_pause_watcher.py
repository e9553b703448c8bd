"""The watch passes on what it reads, with when it asked."""

from __future__ import annotations

from collections import deque

import pytest

from tests.fakes.clock import START, FakeClock
from worker.core.operations import NOTICE_SECONDS, Pause
from worker.maintenance.housekeeper import JITTER
from worker.maintenance.pause_watcher import PauseWatcher
from worker.ports import LedgerUnavailable

HOLD = Pause("a test", "ops@desk", START)


class FakeFleet:
    """The `PauseReader` of the ports: what it says in turn; reading takes a second."""

    def __init__(self, clock: FakeClock, *script: Pause | LedgerUnavailable | None) -> None:
        self._clock = clock
        self._script = deque(script)

    def current(self) -> Pause | None:
        """Return or raise the next of the script."""
        self._clock.advance(1.0)
        said = self._script.popleft()
        if isinstance(said, LedgerUnavailable):
            raise said
        return said


class Notes:
    """A `PauseListener` that writes down what it is told."""

    def __init__(self) -> None:
        self.words: list[tuple[Pause | None, float] | str] = []

    def obey(self, hold: Pause | None, asked_at: float) -> None:
        """Note an order."""
        self.words.append((hold, asked_at))

    def miss(self, reason: str) -> None:
        """Note why there is none."""
        self.words.append(reason)


def test_it_passes_on_each_word_as_of_when_it_asked_and_says_why_there_is_none() -> None:
    clock, notes = FakeClock(), Notes()
    fleet = FakeFleet(clock, None, HOLD, LedgerUnavailable("away"), None)
    watch = PauseWatcher(fleet, clock, notes)
    assert [watch.run_once(), watch.run_once()] == [0, 0]
    with pytest.raises(LedgerUnavailable):
        watch.run_once()
    watch.run_once()
    assert notes.words == [(None, 0.0), (HOLD, 1.0), "away", (None, 3.0)]


def test_a_database_that_is_away_at_the_start_is_read_later() -> None:
    clock, notes = FakeClock(), Notes()
    watch = PauseWatcher(FakeFleet(clock, LedgerUnavailable("away"), HOLD), clock, notes)
    assert not watch.look_first()
    assert watch.look_first()
    assert notes.words == ["away", (HOLD, 1.0)]


def test_two_looks_fit_into_what_is_promised() -> None:
    assert 2 * PauseWatcher.interval * (1 + JITTER) < NOTICE_SECONDS
