"""What each chore asks, what it passes on, and what it says."""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.typing import EventDict

from tests.fakes.clock import START, FakeClock
from worker.core.operations import (
    NOTICE_SECONDS,
    Backlog,
    Blocker,
    DatabaseServer,
    Pause,
    WorkerState,
)
from worker.core.outcome import ErrorKind
from worker.maintenance.chores import (
    BacklogMonitor,
    lapsed_leases,
    lock_watcher,
    old_requests,
    pause_reader,
    registry,
    turned_away,
)
from worker.maintenance.credentials import renewed_credentials
from worker.maintenance.housekeeper import JITTER
from worker.pipeline.batcher import Batcher
from worker.ports import LedgerUnavailable
from worker.settings import SettingsInvalid
from worker.telemetry.logs import LogEvent

DAY = 86_400.0
PAUSE = Pause("a test", "ops@desk", START)
AWAY = LedgerUnavailable("away")
SERVER = DatabaseServer(START, connections=12, connections_limit=97)


class Scripted:
    """A read of the database that says in turn what a script says; it takes a second."""

    def __init__(self, *script: Any) -> None:
        self.clock = FakeClock()
        self._script = deque(script)

    def __call__(self) -> Any:
        self.clock.advance(1.0)
        said = self._script.popleft()
        if isinstance(said, LedgerUnavailable):
            raise said
        return said


def test_lapsed_requests_are_settled_and_counted_by_what_became_of_them(
    log: list[EventDict],
) -> None:
    lapsed = [None, None, ErrorKind.IN_DOUBT, ErrorKind.MESSAGE_LOST]
    chore = lapsed_leases(lambda limit: lapsed[:limit])
    chore.run_once()
    assert chore.run_once() == 4
    counts = {"waiting": 2, "in_doubt": 1, "message_lost": 1}
    assert log == [{"event": LogEvent.LEASES_SETTLED, "log_level": "info", **counts}]


def test_nothing_is_settled_before_the_database_has_answered_for_a_while() -> None:
    """Else answers that were paid in an outage would come after the verdict on their calls."""
    settle = Scripted([None], AWAY, [None], [None])
    chore = lapsed_leases(lambda limit: settle()[:limit])
    assert chore.run_once() == 0  # at the start nobody knows how long it has answered
    with pytest.raises(LedgerUnavailable):
        chore.run_once()
    assert [chore.run_once(), chore.run_once()] == [0, 1]


@pytest.mark.parametrize(
    ("clear_days", "delete_days", "asked"),
    [
        (0, 0, []),  # never
        (30, 0, [("clear", 30 * DAY)]),
        (0, 365, [("delete", 365 * DAY)]),
        (30, 365, [("delete", 365 * DAY), ("clear", 30 * DAY)]),
    ],
)
@pytest.mark.parametrize(
    ("clear", "delete", "size"), [(0, 0, 0), (3, 7, 7), (7, 3, 7), (900, 1, 500), (1, 900, 500)]
)
def test_retention_goes_by_its_days_and_a_run_is_as_large_as_its_larger_half(
    log: list[EventDict],
    clear_days: float,
    delete_days: float,
    asked: list[tuple[str, float]],
    clear: int,
    delete: int,
    size: int,
) -> None:
    heard: list[tuple[str, float]] = []

    def work(what: str, count: int, older_than: float, limit: int) -> int:
        heard.append((what, older_than))
        return min(count, limit)

    chore = old_requests(
        lambda older_than, limit: work("clear", clear, older_than, limit),
        lambda older_than, limit: work("delete", delete, older_than, limit),
        clear_after_days=clear_days,
        delete_after_days=delete_days,
    )
    done = chore.run_once()
    assert heard == asked
    cleared, deleted = min(clear, 500) * bool(clear_days), min(delete, 500) * bool(delete_days)
    assert done == max(cleared, deleted)
    assert done == size or len(asked) < 2
    said = [(line["event"], line["cleared"], line["deleted"]) for line in log]
    assert said == ([(LogEvent.RETAINED, cleared, deleted)] if done else [])


def test_each_order_is_passed_on_as_of_when_it_was_asked_for_and_why_there_is_none() -> None:
    read = Scripted(None, PAUSE, AWAY, None)
    notes: list[object] = []
    chore = pause_reader(read, read.clock, lambda *order: notes.append(order), notes.append)
    assert [chore.run_once(), chore.run_once()] == [0, 0]
    with pytest.raises(LedgerUnavailable):
        chore.run_once()
    chore.run_once()
    assert notes == [(None, 0.0), (PAUSE, 1.0), "away", (None, 3.0)]
    # Two looks fit into what is promised.
    assert 2 * chore.interval * (1 + JITTER) < NOTICE_SECONDS


def test_the_last_backlog_is_forgotten_when_the_database_is_away() -> None:
    script = (Backlog(unsent_events=3), AWAY, Backlog(unsent_events=5))
    monitor = BacklogMonitor(Scripted(*script), lambda: SERVER, FakeClock())
    seen = [(monitor.backlog, monitor.failed)]
    for said in script:
        if said is AWAY:
            with pytest.raises(LedgerUnavailable):
                monitor.chore.run_once()
        else:
            assert monitor.chore.run_once() < monitor.chore.limit
        seen.append((monitor.backlog, monitor.failed))
    assert seen == [(None, False), (script[0], False), (None, True), (script[2], False)]


def test_a_worker_says_what_it_does_at_each_change_and_every_ten_seconds() -> None:
    clock = FakeClock()
    said: list[WorkerState] = []
    is_now = ["working", "working", "parked", "parked", "parked"]
    states = iter([WorkerState(each, None, None, 0, 0, 0, 8, 0) for each in is_now])
    chore = registry(lambda: next(states), said.append, clock)
    for _ in is_now[:-1]:
        chore.run_once()
        clock.advance(2.0)
    assert [each.state for each in said] == ["working", "parked"]
    clock.advance(6.0)
    chore.run_once()
    assert [each.state for each in said] == ["working", "parked", "parked"]


def test_what_cannot_be_counted_now_is_counted_later_and_nothing_asks_nothing() -> None:
    waiting: Batcher[tuple[object, object]] = Batcher()
    waiting.put_all([("web", "conflict"), (None, "not_json"), ("web", "conflict")])
    saved: list[Mapping[tuple[object, object], int]] = []
    away = [AWAY]

    def save(counts: Mapping[tuple[object, object], int]) -> None:
        if away:
            raise away.pop()
        saved.append(dict(counts))

    chore = turned_away(lambda: waiting.take(100, 0), waiting.put_back, save)
    with pytest.raises(LedgerUnavailable):
        chore.run_once()
    waiting.put(("web", "conflict"))
    assert [chore.run_once(), chore.run_once()] == [0, 0]
    assert saved == [{("web", "conflict"): 3, (None, "not_json"): 1}]


def test_who_holds_the_database_up_is_said_once_a_minute_while_it_does(
    log: list[EventDict],
) -> None:
    clock, answers = FakeClock(), True
    asked: list[float] = []

    def blocker() -> Blocker:
        asked.append(clock.monotonic())
        return Blocker(4711, "psql", START)

    chore = lock_watcher(lambda: answers, blocker, clock)
    chore.run_once()
    assert asked == []
    answers = False
    for _ in range(61):
        chore.run_once()
        clock.advance(1.0)
    words = "held up by pid 4711, application psql, since 2026-03-01T12:00:00Z"
    assert [line["reason"] for line in log] == [words, words]
    assert asked == [0.0, 60.0]


@pytest.mark.parametrize(
    ("seconds", "offset"),
    [
        (0.0, 0.0),
        (1.0, 0.0),  # the answer took a second: it may be of its end
        (-7.0, 7.0),  # the database's clock is behind ours
        (8.0, -7.0),
    ],
)
def test_the_clocks_differ_by_what_the_way_of_the_answer_does_not_explain(
    seconds: float, offset: float
) -> None:
    told = replace(SERVER, at=START + timedelta(seconds=seconds))
    server = Scripted(told)
    monitor = BacklogMonitor(Backlog, server, server.clock)
    monitor.chore.run_once()
    assert (monitor.server, monitor.clock_offset) == (told, offset)


OLD, MIXED, NEW = ("old key", "old secret"), ("new key", "old secret"), ("new key", "new secret")
GONE = SettingsInvalid(["PROVIDER_SECRET_KEY_FILE: cannot be read (FileNotFoundError)"])


def test_what_changes_is_used_at_the_second_look_that_finds_it(log: list[EventDict]) -> None:
    looks_at: list[tuple[str, str] | SettingsInvalid]
    looks_at = [OLD, MIXED, NEW, GONE, GONE, NEW, NEW, OLD]
    script = iter(looks_at)
    used: list[tuple[str, str]] = []

    def read() -> tuple[str, str]:
        found = next(script)
        if isinstance(found, SettingsInvalid):
            raise found
        return found

    chore = renewed_credentials(OLD, read, used.append)
    looks = [chore.run_once() or len(used) for _ in range(8)]
    assert (used, looks) == ([NEW], [0, 0, 0, 0, 0, 1, 1, 1])
    events = [line["event"] for line in log]
    assert events == [LogEvent.CREDENTIALS_UNREADABLE, LogEvent.CREDENTIALS_RENEWED]
