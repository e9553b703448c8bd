"""A real Prometheus scrapes a real worker: everything that is asked has an answer."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from local_broker import Broker
from local_ports import LOOPBACK
from tests.e2e.harness import Stack, free_port, request, until
from tests.observability.prometheus_server import Prometheus
from tests.observability.queries import all_queries, rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_stack import Servers

# Each of the invented people is found nowhere but in messages.
CANARIES = {"name": "欧阳测试者", "idCard": "119999194912310136", "mobile": "13912345678"}
HOSTILE = "source-0123456789"


@contextmanager
def observed(stack: Stack, servers: Servers, **settings: str) -> Iterator[Prometheus]:
    """Watch a worker and the broker of this session."""
    assert isinstance(servers.broker, Broker), "the metrics of its own broker: unset AMQP_URL"
    port = free_port()
    stack.start_worker(HTTP_PORT=port, **settings)
    targets = {
        "verification-worker": [f"{LOOPBACK}:{port}"],
        "rabbitmq": [servers.broker.metrics_address],
    }
    with Prometheus(targets) as prometheus:
        yield prometheus


def test_every_query_of_the_dashboard_and_of_every_alert_has_an_answer(
    stack: Stack, servers: Servers
) -> None:
    """A little load meanwhile; the worker is well, so that no alert fires."""
    published = 0
    with observed(stack, servers, DAILY_CALL_BUDGET="100000") as prometheus:

        def unanswered() -> list[tuple[str, str]]:
            nonlocal published
            stack.publish(request(f"observed-{published}"))
            published += 1
            return [(who, what) for who, what in all_queries() if not prometheus.query(what)]

        left: list[tuple[str, str]] = []

        def all_are_answered() -> bool:
            nonlocal left
            left = unanswered()
            return not left

        try:
            until(all_are_answered, 120)
        except TimeoutError:
            raise AssertionError(f"no answer: {left}") from None
        found = prometheus.query('sum(verification_messages_settled_total{outcome="match"})')
        assert 0 < float(found[0]["value"][1]) <= published
        alerts = prometheus.alerts()
    assert set(alerts) == {rule["alert"] for rule in rules()}
    assert {rule["health"] for rule in alerts.values()} == {"ok"}
    assert [name for name, rule in alerts.items() if rule["state"] == "firing"] == []


def test_no_metric_and_no_label_holds_anything_of_a_person_and_no_message_adds_a_series(
    stack: Stack,
) -> None:
    worker = stack.start_worker(HTTP_PORT=free_port())
    # The outbox is looked at half a second after the start.
    before = until(
        lambda: "verification_outbox_events" in (text := worker.asked("/metrics")[1]) and text
    )
    full = {"checkType": 4, "personalUser": CANARIES}
    unknown = {"checkType": 9, "personalUser": CANARIES}
    stack.publish({"requestId": "c-match", "personalSpec": full, "source": HOSTILE})
    stack.publish({"requestId": "c-wrong", "personalSpec": unknown, "source": HOSTILE})
    stack.publish({"requestId": CANARIES["idCard"], "personalSpec": full}, reply_to="x")
    stack.publish(b"nothing", message_id=CANARIES["mobile"], correlation_id=CANARIES["name"])
    stack.publish({"requestId": "c-key", "personalSpec": full}, reply_to=CANARIES["mobile"])
    for number in range(10):
        to = {"reply_to": f"k.{number}"}
        stack.publish(request(f"series-{number}", source=f"source-{number}"), **to)
        stack.publish(b"nothing", correlation_id=f"c-{number}")
    until(lambda: stack.depth("collector") >= 25)
    after = worker.asked("/metrics")[1]
    assert re.search(r'settled_total\{action="completed",outcome="match"\} 1[0-9]', after)
    hidden = [*CANARIES.values(), HOSTILE, "c-match"]
    assert [value for value in hidden if value in after] == []
    names = [{line.rpartition(" ")[0] for line in text.splitlines()} for text in (before, after)]
    assert names[0] == names[1]
    assert len(names[0]) < 600
