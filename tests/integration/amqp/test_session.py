"""A delivery is acknowledged when all that it caused is confirmed, and then it is gone."""

import threading
from typing import Any

import pytest

from tests.integration.amqp.conftest import Consuming, MakeSession, Start
from tests.integration.amqp.harness import (
    PATIENCE,
    TOPOLOGY,
    UNDECODABLE,
    Bare,
    Collector,
    Log,
    acknowledged,
    answered,
    ids,
    undecodable_headers,
)
from worker.amqp import declare
from worker.amqp.pika_connection import UNREADABLE_PROPERTIES
from worker.contract.names import REQUESTS, RESULTS, UNROUTED, retry_queue
from worker.core.delivery import Delivery, Publication, Settlement

TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


def test_all_publications_of_a_settlement_are_confirmed_before_it_is_settled(
    consuming: Consuming, bare: Bare
) -> None:
    session, sink = consuming(1)
    (delivery,) = sink.wait_for_deliveries(1)
    publications = tuple(Publication("", retry_queue(1800), b"{}", message_id=i) for i in ids(5))
    session.settle([Settlement(delivery, publications)])
    sink.wait_for_settled(1)
    assert bare.count(retry_queue(1800)) == 5


def test_a_resumed_session_may_take_one_at_a_time_and_then_all_again(consuming: Consuming) -> None:
    """Never are more unsettled than the prefetch."""
    session, sink = consuming(20, prefetch=4)
    held = sink.wait_for_deliveries(4)
    session.pause()
    session.resume(1)
    fifth = sink.wait_for_deliveries(5)[4]
    session.settle([acknowledged(one) for one in held])
    sink.wait_for_settled(4)
    # Four places of the first consumer are free, and none of the second.
    assert len(sink.deliveries) == 5
    session.settle([acknowledged(fifth)])
    sixth = sink.wait_for_deliveries(6)[5]
    session.resume()
    assert len(sink.wait_for_deliveries(10)) == 10
    session.settle([acknowledged(sixth)])
    sink.wait_for_settled(6)
    assert session.stop_consuming()
    assert len(sink.deliveries) == 10
    assert session.consuming is False


def test_a_header_that_pika_cannot_decode_is_dropped_alone(
    start: Start, bare: Bare, amqp_url: str, log: Log
) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    headers = {"when": UNDECODABLE, "traceparent": TRACEPARENT}
    with undecodable_headers():
        bare.publish(["poison"], b"poisoned", headers=headers, reply_to="r", correlation_id="c")
    bare.publish(["good"])
    _, sink = start()
    poison, good = sink.wait_for_deliveries(2)
    assert (poison.body, poison.message_id) == (b"poisoned", "poison")
    assert poison.traceparent == TRACEPARENT
    assert (poison.reply_to, poison.correlation_id) == ("r", "c")
    assert good.message_id == "good"
    log.wait_for_line(UNREADABLE_PROPERTIES)


def test_a_paused_session_takes_nothing_and_can_still_settle(
    consuming: Consuming, bare: Bare
) -> None:
    session, sink = consuming(1)
    (first,) = sink.wait_for_deliveries(1)
    assert session.stop_consuming()
    bare.publish(["later"])
    session.settle([acknowledged(first)])
    sink.wait_for_settled(1)
    assert not session.consuming
    assert len(sink.deliveries) == 1
    session.resume()
    later = sink.wait_for_deliveries(2)[1]
    assert (later.message_id, later.epoch) == ("later", first.epoch)
    session.settle([acknowledged(later)])
    sink.wait_for_settled(2)
    assert session.drain(PATIENCE)
    session.close()
    assert bare.count(REQUESTS) == 0


def test_a_shutdown_leaves_no_finished_work_to_redeliver(consuming: Consuming, bare: Bare) -> None:
    session, sink = consuming(300, prefetch=50)
    finished = sink.wait_for_deliveries(50)[:37]
    assert session.stop_consuming()
    taken = len(sink.deliveries)
    session.settle([answered(one, RESULTS, "a.match") for one in finished])
    assert session.drain(PATIENCE)
    assert session.unconfirmed == 0
    session.close()
    assert len(sink.deliveries) == taken
    assert len(sink.finished) == 37
    left = {one for one, _ in bare.take_all(REQUESTS, 300 - len(finished))}
    assert left == set(ids(300)) - {one.message_id for one in finished}


def test_closing_twice_or_before_the_start_is_harmless(
    make_session: MakeSession, start: Start
) -> None:
    make_session().close()
    session, _ = start()
    session.close()
    session.close()
    session.settle([])
    assert not session.connected


def test_publications_without_a_delivery_are_reported_when_confirmed(
    start: Start, bare: Bare
) -> None:
    session, _ = start()
    confirmed, nothing = threading.Event(), threading.Event()
    session.publish([Publication(RESULTS, "a.match", b"{}", message_id="e-1")], confirmed.set)
    session.publish([], nothing.set)
    assert confirmed.wait(PATIENCE)
    assert nothing.wait(PATIENCE)
    assert bare.take_all(UNROUTED) == [("e-1", False)]


class _Failing(Collector):
    def deliver(self, delivery: Delivery) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize("sink", [_Failing(), Collector()], ids=["sink", "publication"])
def test_an_unexpected_error_closes_the_session_and_is_reported(
    consuming: Consuming, bare: Bare, log: Log, sink: Collector
) -> None:
    failures: list[Any] = []
    failed = threading.Event()

    def on_failure(error: Exception) -> None:
        failures.append(error)
        failed.set()

    session, _ = consuming(1, sink=sink, on_failure=on_failure)
    if not isinstance(sink, _Failing):
        (delivery,) = sink.wait_for_deliveries(1)
        session.settle([answered(delivery, RESULTS, "secret" * 50)])  # beyond 255 bytes
    assert failed.wait(PATIENCE)
    assert len(failures) == 1
    (line,) = [one for one in log.lines if one["event"] == "amqp.session_failed"]
    assert line["kind"] in ("ZeroDivisionError", "ShortStringTooLong")
    assert "secret" not in str(line)
    assert not session.connected
    assert bare.take_all(REQUESTS, 1) == [("m-0", True)]  # handed back, not lost
