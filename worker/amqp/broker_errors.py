"""What can go wrong with the broker, mapped once from pika's and the socket's errors."""

import re

from pika import exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout

from worker.core.connecting import Unconnected, words
from worker.settings.addresses import ESCAPES
from worker.telemetry.causes import why_unconnected

_ACCESS_REFUSED, _NOT_ALLOWED = 403, 530
_REFUSALS = (
    exceptions.ProbableAuthenticationError,
    exceptions.AuthenticationError,
    exceptions.ProbableAccessDeniedError,
)

NO_AMQP = {
    b"HTTP/": "an HTTP server answers there: AMQP_URL must name the broker's AMQP port, often 5672",
    b"\x15\x03": "TLS is spoken there: AMQP_URL must begin with amqps://, or name the plain port",
}
"""What else may answer at a port, by its first bytes."""

_UNAVAILABLE = {
    exceptions.IncompatibleProtocolError: (
        "the connection was closed before any AMQP: AMQP_URL names another port (a TLS port needs"
        " amqps://), or what stands behind it is down"
    ),
    AMQPConnectorStackTimeout: (
        "the port of AMQP_URL took the connection and did not answer in AMQP: it is another"
        " server's, or the broker hangs"
    ),
    exceptions.ConnectionBlockedTimeout: "it takes no publications: a memory or disk alarm",
}
_LOST = {
    exceptions.StreamLostError: "the connection was lost: the network, or the broker was stopped",
    exceptions.AMQPHeartbeatTimeout: "the broker answered no heartbeat",
}
_MORE = {
    Unconnected.TLS_ABSENT: "; amqps:// needs the broker's TLS port, usually 5671",
    Unconnected.TLS_CLIENT: ": AMQP_CERT_FILE must name one",
}

# 406 means other things as well: an acknowledgement that took too long, an unknown tag.
_DIFFERS = re.compile(r"(?:inequivalent|invalid) arg .* for (?:queue|exchange) '([^']+)'")


class AmqpError(Exception):
    """Any failure of the broker's room."""


class InvalidUrl(AmqpError):
    """The AMQP URL cannot be used; the text never quotes it, for it holds a password."""


class BrokerUnavailable(AmqpError):
    """The broker does not answer, or it ended the conversation."""


class AccessRefused(AmqpError):
    """The broker refuses this user, or refuses it this vhost or this operation."""


class NotProvisioned(AmqpError):
    """A queue or an exchange does not exist."""


class TopologyDiffers(AmqpError):
    """The queue or exchange `name` exists with other arguments; `what` is the broker's reason."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(
            f"{name} exists with other arguments: {what}. Delete it when it is empty and apply the"
            " topology again, or give the worker the settings that it was declared with"
        )
        self.name = name
        self.what = what


class Unroutable(AmqpError):
    """No queue is bound for this message; the broker gave it back."""


class TlsFailed(AmqpError):
    """The broker's certificate is refused, or no TLS is spoken; the text says what to do."""


def mapped(error: BaseException) -> AmqpError:
    """Return the error of ours that a failure of pika's means."""
    cause = _innermost(error)
    if isinstance(cause, AmqpError):
        return cause
    code = getattr(cause, "reply_code", 0)
    text = str(getattr(cause, "reply_text", ""))
    if isinstance(cause, exceptions.ChannelClosedByBroker):
        return _mapped_channel(code, text)
    if type(cause) in _UNAVAILABLE:
        return BrokerUnavailable(_UNAVAILABLE[type(cause)])
    if isinstance(cause, _REFUSALS) or code in (_ACCESS_REFUSED, _NOT_ALLOWED):
        return _refusal(cause, f"{text}{cause}")
    if code:
        return BrokerUnavailable(f"the broker closed the connection with code {code}")
    why = why_unconnected(cause)
    if why is not Unconnected.OTHER:
        return BrokerUnavailable(advice(why))
    return BrokerUnavailable(_LOST.get(type(cause), type(cause).__name__))


def advice(why: Unconnected) -> str:
    """Return in words why there is no connection, with what is the broker's alone."""
    return words(why, "AMQP") + _MORE.get(why, "")


def described(error: AmqpError, *, declares: bool) -> dict[str, str]:
    """Return what a worker's log says of an error, with advice where there is any."""
    told = {"kind": type(error).__name__, "problem": str(error)}
    if isinstance(error, NotProvisioned) and not declares:
        told["advice"] = "not provisioned: run verification-worker topology apply"
    elif isinstance(error, AccessRefused) and declares:
        told["advice"] = "where this user may declare nothing, set TOPOLOGY=check"
    return told


def _mapped_channel(code: int, text: str) -> AmqpError:
    match code:
        case 403:
            return AccessRefused(text)
        case 404:
            return NotProvisioned(text)
        case 406 if found := _DIFFERS.search(text):
            return TopologyDiffers(found[1], text)
        case _:
            return BrokerUnavailable(f"the broker closed the channel: {text}")


def _refusal(cause: BaseException, said: str) -> AmqpError:
    """Say which of user, password and vhost is refused; what is said names the user, too.

    pika guesses by where the login was: a connection that was lost there is no refusal.
    """
    if "StreamLostError" in said:
        return BrokerUnavailable("the connection was lost during the login")
    if "not found" in said:
        return AccessRefused("the broker has no such vhost: AMQP_URL names it after the host's /")
    if "is reached" in said:
        return AccessRefused("the broker's limit of connections for user or vhost is reached")
    if isinstance(cause, exceptions.ProbableAccessDeniedError) or "vhost" in said:
        return AccessRefused("the broker refuses this user the vhost that AMQP_URL names")
    return AccessRefused(
        "the broker refuses user or password (its default user may log in from its own machine"
        f" alone); in AMQP_URL {ESCAPES}"
    )


def _innermost(error: BaseException) -> BaseException:
    """Unwrap what pika's connection workflow wraps: the last attempt's own error."""
    inner: object = None
    if attempts := getattr(error, "exceptions", ()):
        inner = attempts[-1]
    elif hasattr(error, "exception"):
        inner = error.exception
    elif type(error) is exceptions.AMQPConnectionError and error.args:
        inner = error.args[0]
    return _innermost(inner) if isinstance(inner, BaseException) else error
