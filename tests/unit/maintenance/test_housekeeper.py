"""The housekeeper runs every chore, whatever happens to one of them, and stops when told."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

from structlog.typing import EventDict

from tests.fakes.broker import PATIENCE
from tests.fakes.clock import FakeClock
from worker.maintenance.chores import Chore
from worker.maintenance.housekeeper import Housekeeper
from worker.ports import LedgerUnavailable
from worker.telemetry.logs import LogEvent

NEVER = 3600.0


class Diary:
    """Who ran, in order, at which second; when `until` so many did, nobody runs any more."""

    def __init__(self, until: int, run_seconds: float = 0.0) -> None:
        self._run_seconds = run_seconds
        self.clock = FakeClock()
        self.runs: list[str] = []
        self.times: list[float] = []
        self.full = Event()
        self._until = until

    def chore(
        self,
        name: str,
        *script: int | Exception,
        interval: float = 1.0,
        first_after: float | None = None,
        always: int = 0,
    ) -> Chore:
        """Return a chore that does what a script says, and then `always` as much; 10 is full."""
        left = deque(script)

        def run_once() -> int:
            self.runs.append(name)
            self.times.append(self.clock.monotonic())
            if len(self.runs) == self._until:
                self.full.set()
            self.clock.advance(self._run_seconds)
            said = left.popleft() if left else always
            if isinstance(said, Exception):
                raise said
            return said

        return Chore(name, interval, 10, run_once, first_after=first_after)

    def keep(
        self,
        *chores: Chore,
        chances: tuple[float, ...] = (),
        on_failure: Callable[[], None] = lambda: None,
    ) -> list[str]:
        """Run a housekeeper whose pauses pass at once, and return who ran until it was full."""
        drawn = deque(chances)
        chance = lambda: drawn.popleft() if drawn else 0.5  # noqa: E731
        housekeeper = Housekeeper("housekeeper", chores, self.clock, chance, on_failure)
        housekeeper._stopping = Pauses(self)
        housekeeper.start()
        housekeeper._thread.join(PATIENCE)
        assert not housekeeper.running
        return self.runs


class Pauses(Event):
    """A housekeeper's waits: they move the diary's clock, and end when the diary is full."""

    def __init__(self, diary: Diary) -> None:
        super().__init__()
        self._diary = diary

    def wait(self, timeout: float | None = None) -> bool:
        self._diary.clock.advance(timeout or 0.0)
        return self._diary.full.is_set()


@contextmanager
def keeping(*chores: Chore) -> Iterator[Housekeeper]:
    """Run a housekeeper whose clock stands until the test is over."""
    housekeeper = Housekeeper("housekeeper", chores, FakeClock(), lambda: 0.5, lambda: None)
    housekeeper.start()
    try:
        yield housekeeper
    finally:
        assert housekeeper.stop(PATIENCE)


def test_every_chore_runs_again_and_again_at_its_interval() -> None:
    diary = Diary(until=5)
    diary.keep(diary.chore("often"), diary.chore("seldom", interval=2.5))
    assert list(zip(diary.runs, diary.times, strict=True)) == [
        ("often", 1.0),
        ("often", 2.0),
        ("seldom", 2.5),
        ("often", 3.0),
        ("often", 4.0),
    ]


def test_the_first_run_may_come_sooner() -> None:
    diary = Diary(until=3)
    diary.keep(diary.chore("a", interval=15.0, first_after=0.5))
    assert diary.times == [0.5, 15.5, 30.5]


def test_replicas_that_start_together_do_not_run_together() -> None:
    """With the same interval the first chore would be due first; a high draw puts it off."""
    diary = Diary(until=2)
    runs = diary.keep(diary.chore("late"), diary.chore("early"), chances=(1.0, 0.0))
    assert runs == ["early", "late"]
    assert diary.times == [0.8, 1.2]


def test_a_full_batch_is_followed_by_the_next_one_at_once() -> None:
    diary = Diary(until=4)
    diary.keep(diary.chore("a", 10, 11, 9))
    assert diary.times == [1.0, 1.0, 1.0, 2.0]


def test_a_backlog_of_one_chore_does_not_keep_the_others_waiting() -> None:
    diary = Diary(until=20, run_seconds=0.25)
    runs = diary.keep(diary.chore("backlog", always=10), diary.chore("other"))
    assert runs.count("other") == 4


def test_a_database_that_is_away_is_reported_once_and_every_chore_goes_on(
    log: list[EventDict],
) -> None:
    diary = Diary(until=6)
    diary.keep(diary.chore("a", *[LedgerUnavailable("away") for _ in range(3)]))
    assert diary.times == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    events = [line["event"] for line in log]
    assert events == [LogEvent.DATABASE_UNAVAILABLE, LogEvent.DATABASE_BACK]
    assert (log[0]["chore"], log[-1]["tries"]) == ("a", 3)


def test_a_chore_that_asks_no_database_does_not_say_that_it_is_back(log: list[EventDict]) -> None:
    diary = Diary(until=6)
    diary.keep(diary.chore("a", *[LedgerUnavailable("away") for _ in range(10)]), diary.chore("b"))
    assert diary.runs.count("b") == 3
    assert [line["event"] for line in log] == [LogEvent.DATABASE_UNAVAILABLE]


def test_chores_can_be_run_before_the_start_and_a_database_that_is_away_is_no_error() -> None:
    diary = Diary(until=2)
    chores = (diary.chore("a", LedgerUnavailable("away")), diary.chore("b"))
    Housekeeper("housekeeper", chores, diary.clock, lambda: 0.5, lambda: None).run_now()
    assert diary.runs == ["a", "b"]


def test_an_unexpected_error_is_reported_without_its_words_and_stops_the_process(
    log: list[EventDict],
) -> None:
    diary, failed = Diary(until=2), Event()
    assert diary.keep(diary.chore("a", ValueError("its words")), on_failure=failed.set) == ["a"]
    assert failed.is_set()
    (line,) = log
    assert (line["event"], line["error"]) == (LogEvent.FAILED, "ValueError")
    assert "its words" not in str(line)


def test_stopping_interrupts_a_run_that_waits() -> None:
    began, interrupted = Event(), Event()

    def run_once() -> int:
        began.set()
        assert interrupted.wait(PATIENCE)
        return 10

    chore = Chore("a", 0.0, 10, run_once, interrupted.set)
    with keeping(chore) as housekeeper:
        assert began.wait(PATIENCE)
        assert housekeeper.stop(PATIENCE)
        assert interrupted.is_set()  # else it ended only because its patience did


def test_stopping_ends_a_pause_at_once() -> None:
    diary = Diary(until=1)
    with keeping(diary.chore("a", interval=NEVER)) as housekeeper:
        assert housekeeper.stop(PATIENCE)
    assert diary.runs == []


def test_a_housekeeper_that_never_started_is_stopped() -> None:
    assert Housekeeper("housekeeper", (), FakeClock(), lambda: 0.5, lambda: None).stop()
