"""The topology can be applied again and again, and a check says what is not as it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.integration.amqp.harness import TOPOLOGY
from worker.amqp import declare
from worker.amqp.broker_errors import AccessRefused, BrokerUnavailable, TopologyDiffers
from worker.amqp.topology import topology
from worker.contract.names import DEAD, REQUESTS, RESULTS, UNROUTED

if TYPE_CHECKING:
    from tests.integration.amqp.harness import Bare


def test_applying_twice_changes_nothing_and_the_check_is_content(amqp_url: str) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    declare.apply(amqp_url, TOPOLOGY)
    assert declare.check(amqp_url, TOPOLOGY) == []


def test_dead_letters_may_be_kept_for_a_year(amqp_url: str) -> None:
    declare.apply(amqp_url, topology((5,), 365))


def test_a_request_with_any_routing_key_reaches_the_queue(amqp_url: str, bare: Bare) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    bare.channel.basic_publish(REQUESTS, "any.thing", b"{}", mandatory=True)
    assert bare.count(REQUESTS) == 1


def test_a_result_that_nobody_is_bound_for_is_kept(amqp_url: str, bare: Bare) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    bare.channel.basic_publish(RESULTS, "nobody.match", b"{}", mandatory=True)
    assert bare.count(UNROUTED) == 1


def test_the_check_of_an_empty_vhost_names_everything_and_makes_nothing(amqp_url: str) -> None:
    found = declare.check(amqp_url, TOPOLOGY)
    assert len(found) == len(TOPOLOGY.exchanges) + len(TOPOLOGY.queues)
    assert all("is missing: run verification-worker topology apply" in one for one in found)
    assert declare.check(amqp_url, TOPOLOGY) == found


def test_the_check_names_a_missing_queue(amqp_url: str, bare: Bare) -> None:
    declare.apply(amqp_url, TOPOLOGY)
    bare.channel.queue_delete("verification.retry.5s")
    assert declare.check(amqp_url, TOPOLOGY) == [
        "queue verification.retry.5s is missing: run verification-worker topology apply"
    ]


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


def test_a_wrong_password_is_refused_by_name(amqp_url: str) -> None:
    with pytest.raises(AccessRefused) as refused:
        declare.apply(with_password(amqp_url, "wrong"), TOPOLOGY)
    assert "wrong" not in str(refused.value).replace("the broker refuses", "")


def test_an_unknown_vhost_is_refused(amqp_url: str) -> None:
    with pytest.raises(AccessRefused):
        declare.check(amqp_url + "-unknown", TOPOLOGY)


def test_a_broker_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(BrokerUnavailable):
        declare.check("amqp://guest:guest@127.0.0.1:1/", TOPOLOGY)


def with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    place = f"{parts.username}:{password}@{parts.hostname}:{parts.port}"
    return parts._replace(netloc=place).geturl()
