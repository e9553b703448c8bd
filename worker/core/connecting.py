"""Why a connection did not come about: one list for all servers.

The codes stand in the ledger and in a metric's label; the words name the setting to look at.
`telemetry.causes` tells them from Python's errors.
"""

from enum import StrEnum


class Unconnected(StrEnum):
    """Why there is no connection, so that no byte of a message or a request has left."""

    DNS = "dns"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    CLOSED = "closed"
    TLS = "tls"
    TLS_ABSENT = "tls_absent"
    TLS_UNTRUSTED = "tls_untrusted"
    TLS_HOST = "tls_host"
    TLS_EXPIRED = "tls_expired"
    TLS_CLIENT = "tls_client"
    PROXY = "proxy"
    PROXY_LOGIN = "proxy_login"
    PROXY_REFUSED = "proxy_refused"
    OTHER = "other"


class ConnectionFailed(OSError):
    """There is no connection, and whoever tried knows why."""

    def __init__(self, why: Unconnected) -> None:
        super().__init__(why.value)
        self.why = why


_WORDS = {
    Unconnected.DNS: "DNS does not resolve the host of {0}_URL",
    Unconnected.REFUSED: "nobody listens at host and port of {0}_URL",
    Unconnected.UNREACHABLE: "no network leads to the host of {0}_URL",
    Unconnected.TIMEOUT: "the host of {0}_URL did not answer in time: a firewall, or overload",
    Unconnected.CLOSED: "the host of {0}_URL closed the connection at once",
    Unconnected.TLS: "the TLS handshake with the host of {0}_URL failed",
    Unconnected.TLS_ABSENT: "no TLS is spoken there: {0}_URL must name a port that does",
    Unconnected.TLS_UNTRUSTED: (
        "the certificate's CA is not trusted: {0}_CA_FILE must name that CA's file"
    ),
    Unconnected.TLS_HOST: (
        "the certificate is for another host: {0}_URL must name one that it is for"
    ),
    Unconnected.TLS_EXPIRED: "the certificate of {0}_URL's host has expired: it must be renewed",
    Unconnected.TLS_CLIENT: "the host of {0}_URL wants a client certificate",
    Unconnected.PROXY: "the proxy of {0}_PROXY does not answer",
    Unconnected.PROXY_LOGIN: "the proxy of {0}_PROXY refuses its user and password",
    Unconnected.PROXY_REFUSED: "the proxy of {0}_PROXY opens no way to the host of {0}_URL",
    Unconnected.OTHER: "there is no connection to the host of {0}_URL",
}


def words(why: Unconnected, prefix: str) -> str:
    """Return that for people; settings begin with the prefix, such as AMQP."""
    return _WORDS[why].format(prefix)
