"""Alive means that our own threads work; nobody else's absence is a reason to restart."""

import socket
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from queue import Queue
from threading import Event, Thread, current_thread
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.broker import PATIENCE
from tests.fakes.messages import ID_CARD
from worker.bootstrap.health_state import STUCK_SECONDS, HealthState
from worker.core.breaker import Open, ParkReason
from worker.core.operations import Backlog
from worker.core.request import Lane
from worker.telemetry.health_server import CannotListen, HealthAnswer, HealthServer, listener

AWAY = "the broker is not connected"
NOBODY = "no consumer is registered"
REFUSED = "the database does not answer: refused"
METRICS: Any = SimpleNamespace(
    exposition=lambda accept: (f"text/plain; of={accept}", b"up 1\n"), letters_returned=0
)


class Parts:
    """The parts of a worker without broker and database, as far as its health asks them."""

    def __init__(self) -> None:
        part: Any = SimpleNamespace
        self.session = part(running=True, unconfirmed=7)
        self.session.loop_lag = part(late_by=0.0, lag=0.5)
        self.session.connected = self.session.consuming = self.session.blocked = False
        self.session.problem = self.session.bulk_problem = None
        self.session.consumes = lambda lane: lane is Lane.LIVE
        self.pipeline = part(dead=[], database_answers=False, database_problem="refused")
        self.pipeline.claimed, self.pipeline.held = 2, 9
        self.pipeline.held_of = {Lane.LIVE: 9, Lane.BULK: 0}.get
        self.gate = part(parked=None, because=None, bulk_closed_for=None, open_for=None)
        self.gate.calls, self.gate.state = (1, 4), Open(ParkReason.QUOTA, 1.0, 1)
        self.housekeeper = part(name="housekeeper", running=True)
        self.monitor = part(backlog=None, server=None, clock_offset=0.0, failed=True)
        self.health = HealthState(
            self.session, self.pipeline, self.gate, [self.housekeeper], self.monitor, METRICS
        )

    def change(self, **facts: Any) -> None:
        for name, fact in facts.items():
            parts = (self.session, self.pipeline, self.gate, self.monitor)
            (one,) = [each for each in parts if hasattr(each, name)]
            setattr(one, name, fact)

    def get(self, path: str) -> tuple[int, str]:
        answer = self.health.answer(path, "")
        return answer.status, answer.body.decode()


@pytest.fixture
def parts() -> Parts:
    """Begin the life of a worker."""
    parts = Parts()
    parts.health.begin()
    return parts


@pytest.fixture(scope="module")
def server() -> Iterator[HealthServer]:
    """Give a server of a worker that is not ready."""
    health = Parts().health
    health.not_ready = lambda: ["没有应答"]  # type: ignore[method-assign]
    server = HealthServer("127.0.0.1", 0, health.answer)
    server.start()
    yield server
    server.close()


PARKED = {"connected": True, "database_problem": None, "parked": ParkReason.QUOTA}
WORKS = {"connected": True, "database_problem": None, "consuming": True}
WITHOUT_BULK = {**WORKS, "bulk_problem": "GONE"}


BEHIND = "the schema is not at head: run `alembic upgrade head`"


@pytest.mark.parametrize(
    ("facts", "status", "state", "words"),
    [
        ({}, 503, "not ready", [AWAY, NOBODY, REFUSED]),
        ({"problem": "DNS"}, 503, "not ready", [f"{AWAY}: DNS", NOBODY, REFUSED]),
        ({"connected": True, "problem": "GONE"}, 503, "not ready", [f"{NOBODY}: GONE", REFUSED]),
        ({**PARKED, "blocked": True}, 503, "parked", ["the broker takes no publications"]),
        ({**PARKED, "backlog": Backlog(schema_behind=True)}, 503, "parked", [BEHIND]),
        ({**PARKED, "backlog": Backlog()}, 200, "parked", ["parked: quota"]),
        ({**PARKED, "because": "HTTP 429"}, 200, "parked", ["parked: quota (HTTP 429)"]),
        ({**PARKED, "bulk_closed_for": 60.0}, 200, "parked", ["parked: quota"]),
        (WORKS, 200, "working", ["ok"]),
        (WITHOUT_BULK, 200, "working", ["live only: the bulk lane is not consumed: GONE"]),
        ({**WITHOUT_BULK, "bulk_closed_for": 60.0}, 200, "working",
         ["live only: BULK_DAILY_CALL_BUDGET is spent"]),
    ],
)  # fmt: skip
def test_a_probe_is_told_in_words_what_is_wrong_and_a_worker_without_others_is_alive(
    parts: Parts, facts: dict[str, Any], status: int, state: str, words: list[str]
) -> None:
    parts.change(**facts)
    assert parts.get("/readyz") == (status, "\n".join(words) + "\n")
    assert parts.get("/livez") == (200, "ok\n")
    said = parts.health.state()
    assert said.state == state
    assert words == ["ok"] or words[-1].removeprefix("parked: ") in (said.reason or "")


def test_a_dead_thread_is_named(parts: Parts) -> None:
    parts.pipeline.dead = ["claimer", "breaker"]
    parts.housekeeper.running = parts.session.running = False
    parts.session.loop_lag.late_by = 1000.0  # of course: it is dead
    names = ("claimer", "breaker", "amqp", "housekeeper")
    words = "".join(f"the thread {name} has ended\n" for name in names)
    assert parts.get("/livez") == (503, words)
    parts.health.end()  # while it stops, and before it starts, threads may be gone
    assert parts.get("/livez") == (200, "ok\n")


@pytest.mark.parametrize(
    ("late_by", "words"),
    [
        (STUCK_SECONDS - 0.1, []),
        (STUCK_SECONDS + 1.4, ["the amqp loop has not turned for 31 s"]),
    ],
)
def test_a_loop_that_does_not_turn_is_dead_after_a_while(
    parts: Parts, late_by: float, words: list[str]
) -> None:
    parts.session.loop_lag.late_by = late_by
    assert parts.health.dead() == words


@pytest.mark.parametrize(
    ("answers", "failed", "up"), [(True, False, 1), (False, False, 0), (True, True, 0)]
)
def test_levels_are_read_as_they_are_and_the_database_is_up_when_all_reach_it(
    parts: Parts, answers: bool, failed: bool, up: int
) -> None:
    parts.change(database_answers=answers, failed=failed)
    levels = parts.health.levels()
    assert levels.database_up == up
    assert (levels.settlements_unconfirmed, levels.amqp_loop_lag_seconds) == (7, 0.5)
    assert (levels.breaker_state, levels.parked, levels.backlog) == ("open", None, None)
    assert (levels.messages_held, levels.requests_claimed) == (9, 2)
    assert (levels.calls_under_way, levels.calls_allowed) == (1, 4)
    assert not levels.broker_blocked


@pytest.mark.parametrize(
    ("path", "status", "said", "content_type"),
    [
        ("/livez", 200, "ok\n", "text/plain; charset=utf-8"),
        ("/readyz", 503, "没有应答\n", "text/plain; charset=utf-8"),
        ("/metrics", 200, "up 1\n", "text/plain; of=a-form"),
        *[(path, 404, "not found\n", "text/plain; charset=utf-8")
          for path in ("/", "/metrics/", "/readyz/", "/livez2")],
    ],
)  # fmt: skip
def test_the_answers_leave_over_http(
    server: HealthServer, path: str, status: int, said: str, content_type: str
) -> None:
    connection = HTTPConnection("127.0.0.1", server.port)
    with closing(connection):
        connection.request("GET", path, headers={"Accept": "a-form"})
        answer = connection.getresponse()
        assert (answer.status, answer.read().decode()) == (status, said)
        assert answer.headers["Content-Type"] == content_type


@pytest.mark.parametrize("fails", [False, True])
def test_an_answer_that_cannot_be_given_prints_no_traceback(
    log: list[Any], capsys: pytest.CaptureFixture[str], *, fails: bool
) -> None:
    answering: Queue[Thread] = Queue()
    hung_up = Event()

    def answer(_path: str, _accept: str) -> HealthAnswer:
        answering.put(current_thread())
        hung_up.wait(PATIENCE)
        if fails:
            raise RuntimeError(ID_CARD)
        return HealthAnswer(200, bytes(50_000_000))  # more than a socket takes by itself

    server = HealthServer("127.0.0.1", 0, answer)
    server.start()
    with closing(server):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /readyz HTTP/1.1\r\n\r\n")
            thread = answering.get(timeout=PATIENCE)
        hung_up.set()
        thread.join(PATIENCE)
    assert [each["error"] for each in log] == (["RuntimeError"] if fails else [])
    assert ID_CARD not in str(log)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("::", "127.0.0.1"),
        ("::", "::1"),
        ("[::1]", "::1"),
        ("0.0.0.0", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
    ],
)
def test_it_listens_on_either_protocol(host: str, asked: str) -> None:
    with listener(host, 0) as listening:
        port = listening.getsockname()[1]
        socket.create_connection((asked, port)).close()


def test_without_ipv6_every_address_is_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listener("::", 0) as listening:
        assert listening.family is socket.AF_INET


@pytest.mark.parametrize(
    ("host", "blamed"),
    [
        ("127.0.0.1", "HTTP_PORT: cannot be opened: somebody listens there already"),
        ("192.0.2.1", "HTTP_HOST"),  # of nobody's machine
        ("no-such-name.invalid", "HTTP_HOST"),
        ("a" * 64, "HTTP_HOST"),
        ("", "HTTP_HOST"),
    ],
)
def test_what_cannot_be_listened_on_blames_the_setting_that_is_wrong(
    host: str, blamed: str
) -> None:
    with listener("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen) as refused:
            listener(host, port if host == "127.0.0.1" else 0)
    assert str(refused.value).startswith(blamed)
