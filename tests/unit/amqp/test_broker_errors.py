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


def login_failed(error: BaseException) -> Any:
    return AMQPConnectionWorkflowFailed([AMQPConnectorAMQPHandshakeError(error)])


def login_refused(text: str) -> Any:
    return login_failed(exceptions.ProbableAuthenticationError(text))


def denied(text: str) -> Any:
    """Return what pika makes of a connection that the broker closed after the login."""
    closed = exceptions.ConnectionClosedByBroker(530, f"NOT_ALLOWED - {text}")
    return login_failed(exceptions.ProbableAccessDeniedError(repr(closed)))


closed = exceptions.ChannelClosedByBroker
unreachable = AMQPConnectionWorkflowFailed(
    [AMQPConnectorSocketConnectError(ConnectionRefusedError())]
)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), BrokerUnavailable, ""),
        (exceptions.AMQPConnectionError(unreachable), BrokerUnavailable, ""),
        (AMQPConnectorStackTimeout("10 s"), BrokerUnavailable, "did not answer in AMQP"),
        (login_refused("…"), AccessRefused, ""),
        (login_refused("ConnectionClosedByBroker: (403) 'alice'"), AccessRefused,
         "refuses user or password"),
        (login_refused("StreamLostError: ('eof',)"), BrokerUnavailable, "lost during the login"),
        (denied("vhost limits not found"), AccessRefused, "no such vhost"),
        (denied("access to vhost 'limits' refused for user 'alice'"), AccessRefused,
         "refuses this user the vhost"),
        (denied("access to vhost 'v' refused for user 'alice': connection limit (1) is reached"),
         AccessRefused, "limit of connections"),
        (exceptions.ConnectionClosedByBroker(530, "NOT_ALLOWED - vhost x not found"),
         AccessRefused, ""),
        (exceptions.ConnectionClosedByBroker(403, "ACCESS_REFUSED - for user 'alice'"),
         AccessRefused, ""),
        (exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED"), BrokerUnavailable, ""),
        (exceptions.StreamLostError("eof"), BrokerUnavailable, "the connection was lost"),
        (exceptions.AMQPHeartbeatTimeout("idle"), BrokerUnavailable, ""),
        (exceptions.ConnectionBlockedTimeout("low on memory"), BrokerUnavailable, ""),
        (closed(404, "NOT_FOUND - no queue 'verification.requests' in vhost '/'"),
         NotProvisioned, ""),
        (closed(403, "ACCESS_REFUSED - access to queue refused"), AccessRefused, ""),
        (closed(406, DIFFERS), TopologyDiffers, ""),
        # 406 as well, and nothing is wrong with the topology
        (closed(406, "PRECONDITION_FAILED - delivery acknowledgement timed out"),
         BrokerUnavailable, ""),
    ],
)  # fmt: skip
def test_a_failure_means_one_of_four_things_and_is_said_in_words_without_its_user(
    error: BaseException, kind: type[Exception], words: str
) -> None:
    meant = mapped(error)
    assert type(meant) is kind
    assert words in str(meant)
    assert "alice" not in str(meant)
