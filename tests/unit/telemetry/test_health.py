"""Alive means that our own threads work; nobody else's absence is a reason to restart."""

import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from types import SimpleNamespace
from typing import Any
from urllib.request import Request, urlopen

import pytest

from worker.bootstrap.health_state import STUCK_SECONDS, HealthState
from worker.core.breaker import Open, ParkReason
from worker.core.operations import Backlog
from worker.core.request import Lane
from worker.telemetry.health_server import CannotListen, HealthServer, listener

AWAY = [
    "the broker is not connected",
    "no consumer is registered",
    "the database does not answer: refused",
]


def part(**facts: Any) -> Any:
    """Return a part of a worker that says this of itself."""
    return SimpleNamespace(**facts)


METRICS: Any = SimpleNamespace(
    exposition=lambda accept: (f"text/plain; of={accept}", b"up 1\n"), letters_returned=0
)


class Parts:
    """The parts of a worker without broker and database, as far as its health asks them."""

    def __init__(self) -> None:
        self.session = part(
            running=True,
            loop_lag=part(late_by=0.0, lag=0.5),
            connected=False,
            consuming=False,
            blocked=False,
            unconfirmed=7,
            problem=None,
            consumes=lambda lane: lane is Lane.LIVE,
            bulk_problem=None,
        )
        self.pipeline = part(
            dead=[],
            database_answers=False,
            database_problem="refused",
            claimed=2,
            held=9,
            held_of={Lane.LIVE: 9, Lane.BULK: 0}.get,
        )
        self.gate = part(
            parked=None,
            pause=None,
            state=Open(ParkReason.QUOTA, 1.0, 1),
            calls=(1, 4),
            because=None,
            bulk_closed_for=None,
        )
        self.housekeeper = part(name="housekeeper", running=True)
        self.monitor = part(backlog=None, server=None, clock_offset=0.0, failed=True)
        self.health = HealthState(
            self.session, self.pipeline, self.gate, [self.housekeeper], self.monitor, METRICS
        )


@pytest.fixture
def parts() -> Parts:
    """Begin the life of a worker."""
    parts = Parts()
    parts.health.begin()
    return parts


def test_a_worker_without_broker_and_database_is_alive_and_not_ready(parts: Parts) -> None:
    assert parts.health.dead() == []
    assert parts.health.not_ready() == AWAY


def test_why_the_broker_is_not_there_is_said(parts: Parts) -> None:
    parts.session.problem = "DNS does not resolve it"
    broker, consumer, _ = parts.health.not_ready()
    assert broker == "the broker is not connected: DNS does not resolve it"
    assert consumer == "no consumer is registered"
    parts.session.connected, parts.session.problem = True, "NOT_FOUND"
    assert parts.health.not_ready()[0] == "no consumer is registered: NOT_FOUND"


def test_a_worker_without_the_bulk_lane_is_ready_and_says_so(parts: Parts) -> None:
    parts.session.connected = parts.session.consuming = True
    parts.pipeline.database_problem = None
    assert parts.health.answer("/readyz", "").body == b"ok\n"
    parts.session.bulk_problem = "NOT_FOUND"
    words = "live only: the bulk lane is not consumed: NOT_FOUND"
    assert parts.health.answer("/readyz", "").body.decode() == f"{words}\n"
    assert (parts.health.state().state, parts.health.state().reason) == ("working", words)
    parts.gate.bulk_closed_for = 60.0
    assert parts.health.without_bulk() == "live only: BULK_DAILY_CALL_BUDGET is spent"
    parts.gate.parked = ParkReason.PAUSED
    assert parts.health.without_bulk() is None


def test_a_dead_thread_is_named(parts: Parts) -> None:
    parts.pipeline.dead = ["claimer", "breaker"]
    parts.housekeeper.running = parts.session.running = False
    parts.session.loop_lag.late_by = 1000.0  # of course: it is dead
    names = ("claimer", "breaker", "amqp", "housekeeper")
    assert parts.health.dead() == [f"the thread {name} has ended" for name in names]


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


def test_before_the_start_and_while_it_stops_threads_may_be_gone(parts: Parts) -> None:
    parts.pipeline.dead = ["claimer"]
    parts.health.end()
    assert parts.health.dead() == []
    fresh = Parts()
    fresh.session.running = False
    assert fresh.health.dead() == []


@pytest.mark.parametrize(
    ("behind", "blocked", "words"),
    [
        (False, False, []),
        (True, False, ["the schema is not at head: run `alembic upgrade head`"]),
        (False, True, ["the broker takes no publications"]),
    ],
)
def test_a_parked_worker_whose_servers_answer_is_ready(
    parts: Parts, behind: bool, blocked: bool, words: list[str]
) -> None:
    parts.session.connected, parts.pipeline.database_problem = True, None
    parts.session.blocked = blocked
    parts.gate.parked = ParkReason.QUOTA
    parts.monitor.backlog = Backlog(schema_behind=behind)
    assert parts.health.not_ready() == words


def test_why_a_worker_is_parked_is_said_in_words(parts: Parts) -> None:
    assert parts.health.parked() is None
    parts.gate.parked = ParkReason.QUOTA
    assert parts.health.parked() == "parked: quota"
    parts.gate.because = "HTTP 429 QUOTA_EXCEEDED"
    assert parts.health.parked() == "parked: quota (HTTP 429 QUOTA_EXCEEDED)"


@pytest.mark.parametrize(
    ("answers", "failed", "up"), [(True, False, 1), (False, False, 0), (True, True, 0)]
)
def test_the_database_is_up_when_work_and_the_monitor_reach_it(
    parts: Parts, answers: bool, failed: bool, up: int
) -> None:
    parts.pipeline.database_answers, parts.monitor.failed = answers, failed
    assert parts.health.levels().database_up == up


def test_levels_are_read_as_they_are(parts: Parts) -> None:
    levels = parts.health.levels()
    assert (levels.settlements_unconfirmed, levels.amqp_loop_lag_seconds) == (7, 0.5)
    assert (levels.breaker_state, levels.parked, levels.backlog) == ("open", None, None)
    assert (levels.messages_held, levels.requests_claimed) == (9, 2)
    assert (levels.calls_under_way, levels.calls_allowed) == (1, 4)
    assert not levels.broker_blocked


# The answers over HTTP.


class Probe:
    """A health server and who asks it."""

    def __init__(self) -> None:
        self.parts = Parts()
        self.server = HealthServer("127.0.0.1", 0, lambda *asked: self.parts.health.answer(*asked))

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and the text of an answer."""
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    probe = Probe()
    probe.server.start()
    yield probe
    probe.server.close()


@pytest.mark.parametrize(
    ("dead", "not_ready", "parked", "live", "ready"),
    [
        ([], [], None, (200, "ok\n"), (200, "ok\n")),
        ([], AWAY, None, (200, "ok\n"), (503, "\n".join(AWAY) + "\n")),
        ([], ["数据库没有应答"], None, (200, "ok\n"), (503, "数据库没有应答\n")),
        ([], [], "parked: quota", (200, "ok\n"), (200, "parked: quota\n")),
        (["it has ended"], [], "parked: quota", (503, "it has ended\n"), (200, "parked: quota\n")),
    ],
)
def test_a_probe_is_told_in_words_what_is_wrong(
    probe: Probe,
    monkeypatch: pytest.MonkeyPatch,
    dead: list[str],
    not_ready: list[str],
    parked: str | None,
    live: tuple[int, str],
    ready: tuple[int, str],
) -> None:
    health = probe.parts.health
    for name, said in (("dead", dead), ("not_ready", not_ready), ("parked", parked)):
        monkeypatch.setattr(health, name, lambda said=said: said)
    assert (probe.get("/livez"), probe.get("/readyz")) == (live, ready)


@pytest.mark.parametrize("path", ["/", "/metrics/", "/readyz/", "/livez2"])
def test_any_other_path_is_not_found(probe: Probe, path: str) -> None:
    assert probe.get(path) == (404, "not found\n")


def test_a_scraper_gets_the_metrics_in_the_form_that_it_takes(probe: Probe) -> None:
    address = f"http://127.0.0.1:{probe.server.port}/metrics"
    scrape = Request(address, headers={"Accept": "a-form"})
    with urlopen(scrape, timeout=10) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; of=a-form")
        assert answer.read() == b"up 1\n"


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
        socket.create_connection((asked, port), timeout=10).close()


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
