"""How a database that is away is said: at once, and then by the minute, however long tries take."""

from threading import Event

from structlog.typing import EventDict

from tests.fakes.clock import FakeClock
from worker.pipeline.database_retry import DatabaseRetry
from worker.ports import LedgerUnavailable


def test_it_is_said_once_a_minute_and_not_by_the_count_of_tries(log: list[EventDict]) -> None:
    clock, tries = FakeClock(), 0
    away: list[bool] = []

    class Patient(Event):
        """Nobody tells us to give up."""

        def wait(self, timeout: float | None = None) -> bool:
            clock.advance(timeout or 0.0)
            return False

    def work() -> str:
        nonlocal tries
        tries += 1
        if tries > 20:
            return "done"
        clock.advance(9.0)  # it waits for a lock
        raise LedgerUnavailable("a lock is held by another session")

    retry = DatabaseRetry(clock, 5.0, away.append)
    assert retry.keep_trying(work, Patient()) == "done"
    assert [line["event"] for line in log] == ["database.unavailable"] * 4 + ["database.back"]
    assert [line["tries"] for line in log] == [1, 7, 13, 19, 20]
    assert (away[0], away[-1]) == (True, False)
