"""The topology can be applied again and again, and a check says what is not as it should be."""

import pytest

from tests.integration.amqp.harness import TOPOLOGY, Bare
from worker.amqp import declare
from worker.amqp.broker_errors import TopologyDiffers
from worker.amqp.topology import topology
from worker.contract.names import DEAD, REQUESTS, RESULTS, UNROUTED


def test_applying_twice_changes_nothing_and_the_check_is_content(amqp_url: str) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    declare.apply(amqp_url, TOPOLOGY)
    assert declare.check(amqp_url, TOPOLOGY) == []


def test_dead_letters_may_be_kept_for_a_year(amqp_url: str) -> None:
    declare.apply(amqp_url, topology((5,), 365))


@pytest.mark.parametrize(("exchange", "queue"), [(REQUESTS, REQUESTS), (RESULTS, UNROUTED)])
def test_whatever_its_routing_key_a_message_reaches_a_queue(
    amqp_url: str, bare: Bare, exchange: str, queue: str
) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    bare.channel.basic_publish(exchange, "any.thing", b"{}", mandatory=True)
    assert bare.count(queue) == 1


def test_the_check_of_an_empty_vhost_names_everything_and_makes_nothing(amqp_url: str) -> None:
    found = declare.check(amqp_url, TOPOLOGY)
    assert len(found) == len(TOPOLOGY.exchanges) + len(TOPOLOGY.queues)
    assert all("is missing: run verification-worker topology apply" in one for one in found)
    assert any(one.startswith("queue verification.retry.5s is missing: ") for one in found)
    assert declare.check(amqp_url, TOPOLOGY) == found


def test_the_check_names_arguments_that_differ(amqp_url: str) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    (found,) = declare.check(amqp_url, topology((5, 1800), 30))
    assert found.startswith(f"queue {DEAD} differs: ")
    assert "x-message-ttl" in found


def test_the_check_names_an_exchange_of_another_type(amqp_url: str, bare: Bare) -> None:
    bare.channel.exchange_declare(REQUESTS, "fanout", durable=True)
    declare_errors = [one for one in declare.check(amqp_url, TOPOLOGY) if "differs" in one]
    assert len(declare_errors) == 1
    assert declare_errors[0].startswith(f"exchange {REQUESTS} differs: ")


def test_applying_over_a_difference_names_the_queue_and_what_to_do(
    amqp_url: str, bare: Bare
) -> None:
    bare.channel.queue_declare(DEAD, durable=True)
    with pytest.raises(TopologyDiffers, match="Delete it when it is empty") as differs:
        declare.apply(amqp_url, TOPOLOGY)
    assert differs.value.name == DEAD
    assert "x-queue-type" in differs.value.what or "x-message-ttl" in differs.value.what
