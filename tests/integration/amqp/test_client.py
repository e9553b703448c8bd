"""What `submit` does: a request is safe when `publish` returns, and its result comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.amqp.harness import TOPOLOGY, Collector
from worker.amqp import declare
from worker.amqp.broker_errors import NotProvisioned, Unroutable
from worker.amqp.client import RequestClient
from worker.contract.names import REQUESTS, RESULTS
from worker.core.delivery import Publication, Settlement

if TYPE_CHECKING:
    from tests.integration.amqp.conftest import MakeSession
    from tests.integration.amqp.harness import Bare


def test_a_request_goes_out_and_its_result_comes_back(
    amqp_url: str, make_session: MakeSession
) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    sink = Collector()
    session = make_session()
    session.start(sink)
    with RequestClient(amqp_url, results_key="submit.me") as client:
        client.publish(b'{"a":1}', message_id="m-1", correlation_id="c-1", reply_to="submit.me")
        (delivery,) = sink.wait_for_deliveries(1)
        assert (delivery.body, delivery.message_id) == (b'{"a":1}', "m-1")
        assert (delivery.correlation_id, delivery.reply_to) == ("c-1", "submit.me")
        result = Publication(RESULTS, "submit.me", b"{}", message_id="e-1", correlation_id="c-1")
        session.settle([Settlement(delivery, (result,))])
        received = next(client.results(timeout=30))
    assert (received.body, received.message_id, received.correlation_id) == (b"{}", "e-1", "c-1")


def test_results_end_when_none_has_come_for_the_time_given(amqp_url: str) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    with RequestClient(amqp_url, results_key="submit.me") as client:
        assert list(client.results(timeout=0.05)) == []
        assert list(client.results(timeout=0.05)) == []


def test_a_request_that_no_queue_takes_is_reported(amqp_url: str, bare: Bare) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    bare.channel.queue_delete(REQUESTS)
    with RequestClient(amqp_url) as client, pytest.raises(Unroutable):
        client.publish(b"{}", message_id="m-1")


def test_a_broker_without_the_topology_is_reported(amqp_url: str) -> None:
    with RequestClient(amqp_url) as client, pytest.raises(NotProvisioned):
        client.publish(b"{}", message_id="m-1")
    with pytest.raises(NotProvisioned), RequestClient(amqp_url, results_key="me"):
        pass
