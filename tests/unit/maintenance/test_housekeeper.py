"""The housekeeper runs every chore, whatever happens to one of them, and stops when told."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from threading import Condition, Event
from typing import TYPE_CHECKING, Any

import pytest

from worker.maintenance.housekeeper import Housekeeper
from worker.ports import LedgerUnavailable
from worker.telemetry.clock import SystemClock
from worker.telemetry.events import LogEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

PATIENCE = 10.0
NEVER = 3600.0


class Diary:
    """Who ran, in order."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.changed = Condition()

    def wait_until(self, holds: Callable[[list[str]], bool]) -> list[str]:
        """Return the runs as soon as something holds of them."""
        with self.changed:
            assert self.changed.wait_for(lambda: holds(self.runs), PATIENCE), self.runs
            return list(self.runs)


class FakeChore:
    """A chore that does what a script says, and nothing when that is over.

    `then` is its interval from its first run on.
    """

    limit = 10

    def __init__(
        self,
        diary: Diary,
        name: str,
        *script: int | Exception,
        first: float = 0.01,
        then: float = 0.01,
        always: int = 0,
    ) -> None:
        self._diary, self._name = diary, name
        self._script = deque(script)
        self.interval, self._then = first, then
        self._always = always
        self.interrupted = Event()
        self.waits = False

    def run_once(self) -> int:
        """Write it down and do the next thing of the script."""
        self.interval = self._then
        with self._diary.changed:
            self._diary.runs.append(self._name)
            self._diary.changed.notify_all()
        if self.waits:
            assert self.interrupted.wait(PATIENCE)
        said = self._script.popleft() if self._script else self._always
        if isinstance(said, Exception):
            raise said
        return said

    def interrupt(self) -> None:
        """Let a waiting run return."""
        self.interrupted.set()


@pytest.fixture
def diary() -> Diary:
    """Begin a diary."""
    return Diary()


@contextmanager
def keeping(
    *chores: FakeChore,
    chances: tuple[float, ...] = (),
    on_failure: Callable[[], None] = lambda: None,
) -> Iterator[Housekeeper]:
    """Run a housekeeper until the test is over."""
    drawn = deque(chances)
    housekeeper = Housekeeper(
        chores, SystemClock(), lambda: drawn.popleft() if drawn else 0.5, on_failure
    )
    housekeeper.start()
    try:
        yield housekeeper
    finally:
        assert housekeeper.stop(PATIENCE)


def events(log: list[MutableMapping[str, Any]]) -> list[object]:
    return [line["event"] for line in log]


def test_every_chore_runs_again_and_again(diary: Diary) -> None:
    with keeping(FakeChore(diary, "a"), FakeChore(diary, "b")):
        diary.wait_until(lambda runs: min(runs.count("a"), runs.count("b")) >= 3)


def test_no_chore_runs_before_its_first_interval_is_over(diary: Diary) -> None:
    with keeping(FakeChore(diary, "soon"), FakeChore(diary, "later", first=NEVER)):
        runs = diary.wait_until(lambda runs: len(runs) >= 5)
    assert set(runs) == {"soon"}


def test_replicas_that_start_together_do_not_run_together(diary: Diary) -> None:
    """With the same interval the first chore would be due first; a high draw puts it off."""
    late, early = FakeChore(diary, "late", first=0.1), FakeChore(diary, "early", first=0.1)
    with keeping(late, early, chances=(1.0, 0.0)):
        runs = diary.wait_until(lambda runs: {"late", "early"} <= set(runs))
    assert runs[0] == "early"


def test_a_full_batch_is_followed_by_the_next_one_at_once(diary: Diary) -> None:
    with keeping(FakeChore(diary, "a", 10, 10, 3, then=NEVER)):
        diary.wait_until(lambda runs: len(runs) == 3)


def test_a_batch_that_is_not_full_is_followed_by_a_pause(diary: Diary) -> None:
    with keeping(FakeChore(diary, "a", 9, 9, then=NEVER), FakeChore(diary, "b")):
        runs = diary.wait_until(lambda runs: runs.count("b") >= 5)
    assert runs.count("a") == 1


def test_a_backlog_of_one_chore_does_not_keep_the_others_waiting(diary: Diary) -> None:
    with keeping(FakeChore(diary, "backlog", always=10), FakeChore(diary, "other")):
        diary.wait_until(lambda runs: runs.count("other") >= 3)


def test_a_database_that_is_away_is_reported_once_and_every_chore_goes_on(
    diary: Diary, log: list[MutableMapping[str, Any]]
) -> None:
    away = [LedgerUnavailable("away") for _ in range(3)]
    with keeping(FakeChore(diary, "a", *away)):
        diary.wait_until(lambda runs: len(runs) >= 6)
    assert events(log) == [LogEvent.DATABASE_UNAVAILABLE, LogEvent.DATABASE_BACK]
    assert log[-1]["tries"] == 3


def test_an_unexpected_error_is_reported_without_its_words_and_stops_the_process(
    diary: Diary, log: list[MutableMapping[str, Any]]
) -> None:
    failed = Event()
    with keeping(FakeChore(diary, "a", ValueError("words")), on_failure=failed.set):
        assert failed.wait(PATIENCE)
    (line,) = log
    assert (line["event"], line["error"]) == (LogEvent.FAILED, "ValueError")
    assert "words" not in str(line)
    assert diary.runs == ["a"]


def test_stopping_interrupts_a_run_that_waits(diary: Diary) -> None:
    chore = FakeChore(diary, "a")
    chore.waits = True
    with keeping(chore) as housekeeper:
        diary.wait_until(lambda runs: len(runs) == 1)
        assert housekeeper.stop(PATIENCE)
    assert diary.runs == ["a"]


def test_stopping_ends_a_pause_at_once_and_a_full_batch_goes_on_no_more(diary: Diary) -> None:
    with keeping(FakeChore(diary, "a", then=NEVER, always=10)) as housekeeper:
        diary.wait_until(lambda runs: len(runs) >= 2)
        assert housekeeper.stop(PATIENCE)
        count = len(diary.runs)
    assert len(diary.runs) == count


def test_a_housekeeper_that_never_started_is_stopped() -> None:
    assert Housekeeper((), SystemClock(), lambda: 0.5, lambda: None).stop()
