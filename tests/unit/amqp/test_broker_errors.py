"""pika's many errors become few of ours."""

from typing import Any

import pytest
from pika import exceptions
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorAMQPHandshakeError,
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
)

from worker.amqp.broker_errors import (
    AccessRefused,
    BrokerUnavailable,
    NotProvisioned,
    TopologyDiffers,
    mapped,
)

DIFFERS = (
    "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'verification.retry.5s' in"
    " vhost '/': received '5000' but current is '6000'"
)


def handshake_failed(error: BaseException) -> Any:
    return AMQPConnectionWorkflowFailed([AMQPConnectorAMQPHandshakeError(error)])


def closed(code: int, text: str) -> Any:
    return exceptions.ChannelClosedByBroker(code, text)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(111, "Connection refused"), BrokerUnavailable),
        (
            exceptions.AMQPConnectionError(
                AMQPConnectionWorkflowFailed(
                    [AMQPConnectorSocketConnectError(ConnectionRefusedError())]
                )
            ),
            BrokerUnavailable,
        ),
        (handshake_failed(exceptions.ProbableAuthenticationError("…")), AccessRefused),
        (handshake_failed(exceptions.ProbableAccessDeniedError("…")), AccessRefused),
        # an unknown vhost
        (
            exceptions.ConnectionClosedByBroker(530, "NOT_ALLOWED - vhost x not found"),
            AccessRefused,
        ),
        (exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED"), BrokerUnavailable),
        (exceptions.StreamLostError("eof"), BrokerUnavailable),
        (exceptions.AMQPHeartbeatTimeout("idle"), BrokerUnavailable),
        (exceptions.ConnectionBlockedTimeout("low on memory"), BrokerUnavailable),
        (closed(404, "NOT_FOUND - no queue 'verification.requests' in vhost '/'"), NotProvisioned),
        (closed(403, "ACCESS_REFUSED - access to queue refused"), AccessRefused),
        (closed(406, DIFFERS), TopologyDiffers),
        # 406 as well, and nothing is wrong with the topology
        (
            closed(406, "PRECONDITION_FAILED - delivery acknowledgement timed out"),
            BrokerUnavailable,
        ),
    ],
)
def test_a_failure_means_one_of_four_things(error: BaseException, kind: type[Exception]) -> None:
    assert type(mapped(error)) is kind


def test_a_difference_names_the_queue_and_the_brokers_reason_and_what_to_do() -> None:
    error = mapped(closed(406, DIFFERS))
    assert isinstance(error, TopologyDiffers)
    assert error.name == "verification.retry.5s"
    assert "x-message-ttl" in error.what
    assert "Delete it when it is empty" in str(error)


def denied(text: str) -> Any:
    """Return what pika makes of a connection that the broker closed after the login."""
    closed = exceptions.ConnectionClosedByBroker(530, f"NOT_ALLOWED - {text}")
    return handshake_failed(exceptions.ProbableAccessDeniedError(repr(closed)))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (denied("vhost limits not found"), "no such vhost"),
        (
            denied("access to vhost 'limits' refused for user 'alice'"),
            "refuses this user the vhost",
        ),
        (
            denied("access to vhost 'v' refused for user 'alice': connection limit (1) is reached"),
            "limit of connections",
        ),
        (
            handshake_failed(
                exceptions.ProbableAuthenticationError("ConnectionClosedByBroker: (403) 'alice'")
            ),
            "refuses user or password",
        ),
        (
            handshake_failed(exceptions.ProbableAuthenticationError("StreamLostError: ('eof',)")),
            "lost during the login",
        ),
        (AMQPConnectorStackTimeout("10 s"), "did not answer in AMQP"),
        (exceptions.StreamLostError("eof"), "the connection was lost"),
        (exceptions.ConnectionClosedByBroker(403, "ACCESS_REFUSED - for user 'alice'"), ""),
    ],
)
def test_what_is_refused_or_lost_is_said(error: BaseException, words: str) -> None:
    told = str(mapped(error))
    assert words in told
    assert "alice" not in told
