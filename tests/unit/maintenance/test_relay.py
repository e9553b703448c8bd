"""The relay sends what is unsent, once, and marks what is confirmed and nothing else."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread, current_thread

import pytest
from structlog.typing import EventDict

from tests.fakes.broker import PATIENCE
from tests.fakes.clock import START
from tests.fakes.verifier import MATCH
from worker.contract.result_v1 import result_event
from worker.core.claims import Envelope
from worker.core.delivery import Publication
from worker.core.outcome import Charged, Outcome, Result, StoredResult
from worker.core.request import Mode
from worker.maintenance import relay
from worker.maintenance.relay import Relay
from worker.ports import Fault, LedgerUnavailable
from worker.telemetry.logs import LogEvent

ENVELOPE = Envelope("replies.onboarding", "correlation-7", f"00-{'a' * 32}-{'b' * 16}-01")


def stored(request_id: str) -> StoredResult:
    result = Result(Outcome.MATCH, Charged.YES, MATCH.auth_info, "provider-1")
    return StoredResult(request_id, "web", 2, Mode.SANDBOX, result, 1, START, START, None)


class FakeOutbox:
    """The `Outbox` of the ports in memory, in which a minute is over when a test clears `held`.

    `faults` are raised by its next marks.
    """

    def __init__(self, *unsent: str) -> None:
        self.unsent = [*unsent]
        self.held: set[str] = set()
        self.faults: deque[Fault] = deque()
        self.marked_by: set[str] = set()

    def take(self, limit: int) -> list[tuple[StoredResult, Envelope]]:
        free = [each for each in self.unsent if each not in self.held][:limit]
        self.hold(free)
        return [(stored(each), ENVELOPE) for each in free]

    def hold(self, request_ids: Sequence[str]) -> None:
        self.held.update(request_ids)

    def mark_sent(self, request_ids: Sequence[str]) -> None:
        if self.faults:
            raise self.faults.popleft()
        self.marked_by.add(current_thread().name)
        for each in request_ids:
            self.unsent.remove(each)


class FakePublisher:
    """The `Publisher` of the ports; it confirms on a thread of its own, what it is not told not."""

    def __init__(self) -> None:
        self.connected, self.blocked = True, False
        self.published: list[Publication] = []
        self.refuses: set[str] = set()
        self.waiting: list[Callable[[], None]] = []
        self.reached = Event()

    def publish(
        self, publications: Sequence[Publication], on_confirmed: Callable[[], None]
    ) -> None:
        """Publish, and confirm unless refused."""
        self.published += publications
        if {each.event_of for each in publications} & self.refuses:
            self.waiting.append(on_confirmed)
        else:
            self._on_the_amqp_thread(on_confirmed)
        self.reached.set()

    def confirm_the_rest(self) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            self._on_the_amqp_thread(each)

    def ids(self) -> list[str | None]:
        return [each.event_of for each in self.published]

    @staticmethod
    def _on_the_amqp_thread(work: Callable[[], None]) -> None:
        thread = Thread(target=work, name="amqp")
        thread.start()
        thread.join()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for confirms for a moment alone: who confirms does so at once."""
    monkeypatch.setattr(relay, "CONFIRM_SECONDS", 0.01)


def relaying(*unsent: str, refused: Sequence[str] = ()) -> tuple[FakeOutbox, FakePublisher, Relay]:
    """Return an outbox with these events, a broker that does not confirm some, and a relay."""
    outbox, broker = FakeOutbox(*unsent), FakePublisher()
    broker.refuses = set(refused)
    return outbox, broker, Relay(outbox, broker)


def test_unsent_events_are_published_as_a_replay_would_and_marked(log: list[EventDict]) -> None:
    outbox, broker, sender = relaying("one", "two")
    assert sender.run_once() == 2
    assert outbox.marked_by == {current_thread().name}  # not the broker's, which must not wait
    assert broker.published == [result_event(stored(each), ENVELOPE) for each in ("one", "two")]
    assert outbox.unsent == []
    (line,) = log
    assert (line["event"], line["events"], line["unconfirmed"]) == (LogEvent.RELAYED, 2, 0)


def test_one_run_sends_a_hundred_at_most_and_says_nothing_of_none(log: list[EventDict]) -> None:
    _, _, sender = relaying(*map(str, range(150)))
    assert [sender.run_once() for _ in range(3)] == [100, 50, 0]
    assert [line["events"] for line in log] == [100, 50]


def test_unconfirmed_events_count_towards_the_hundred() -> None:
    ids = [*map(str, range(150))]
    _, broker, sender = relaying(*ids, refused=ids)
    assert [sender.run_once() for _ in range(3)] == [0, 0, 0]
    assert len(broker.published) == 100


def test_one_event_that_the_broker_refuses_holds_up_no_other() -> None:
    outbox, _, sender = relaying("bad", "good", refused=["bad"])
    assert sender.run_once() == 1
    assert outbox.unsent == ["bad"]


def test_an_unconfirmed_event_is_held_and_not_published_again_and_marked_when_it_is_confirmed() -> (
    None
):
    """The broker's thread does not give up: every further copy would go out as well."""
    outbox, broker, sender = relaying("slow", refused=["slow"])
    for _ in range(10):
        outbox.held.clear()
        assert sender.run_once() == 0
    other = FakePublisher()
    assert Relay(outbox, other).run_once() == 0
    assert other.ids() == []
    broker.confirm_the_rest()
    assert sender.run_once() == 1
    assert (broker.ids(), outbox.unsent) == (["slow"], [])


def test_a_mark_that_failed_is_made_up_for_before_anything_is_taken() -> None:
    outbox, broker, sender = relaying("one")
    outbox.faults.append(LedgerUnavailable("away"))
    with pytest.raises(LedgerUnavailable):
        sender.run_once()
    outbox.held.clear()
    assert sender.run_once() == 1
    assert (broker.ids(), outbox.unsent) == (["one"], [])


@pytest.mark.parametrize("trouble", ["away", "blocked"])
def test_nothing_is_taken_while_the_broker_takes_nothing(trouble: str) -> None:
    outbox, broker, sender = relaying("one")
    broker.connected, broker.blocked = trouble != "away", trouble == "blocked"
    assert sender.run_once() == 0
    assert broker.published == []
    assert Relay(outbox, FakePublisher()).run_once() == 1


def test_an_interrupted_run_ends_and_flushing_marks_what_was_confirmed_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "CONFIRM_SECONDS", 3_600.0)
    outbox, broker, sender = relaying("slow", refused=["slow"])
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(sender.run_once)
        assert broker.reached.wait(PATIENCE)
        sender.interrupt()
        assert running.result(PATIENCE) == 0
    broker.confirm_the_rest()
    sender.flush()
    assert outbox.unsent == []


def test_flushing_without_a_database_says_so_and_goes_on(log: list[EventDict]) -> None:
    outbox, broker, sender = relaying("slow", refused=["slow"])
    sender.run_once()
    broker.confirm_the_rest()
    outbox.faults.append(LedgerUnavailable("away"))
    sender.flush()
    assert [line["event"] for line in log] == [LogEvent.DATABASE_UNAVAILABLE]
