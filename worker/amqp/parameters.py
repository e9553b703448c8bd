"""How to reach the broker: pika's parameters from our URL."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pika

from worker.amqp.broker_errors import InvalidUrl
from worker.amqp.tls import Tls, TlsFiles

# A stopped broker is noticed after heartbeat + 5 s: 20 s, against 17 s measured with 5.
HEARTBEAT_SECONDS = 15

# A broker that accepts no connection within 5 s is as good as down; the backoff tries again.
CONNECT_SECONDS = 5.0

# TCP, TLS and the AMQP handshake together. `blocked_connection_timeout` does not cover connecting.
HANDSHAKE_SECONDS = 10.0

# Heartbeats do not notice a peer that takes nothing while the kernel goes on buffering.
UNSENT_SECONDS = 20


def parameters(url: str, role: str) -> Any:
    """Return pika's parameters; `role` is what the management interface shows. Raises InvalidUrl.

    The URL's own query wins, except over `connection_attempts`: trying again is our business.
    Files for TLS have the names there that RabbitMQ's URI specification gives them: `cacertfile`,
    `certfile`, `keyfile`.
    """
    try:
        url, files = _without_files(url)
        parsed = pika.URLParameters(url)
        given = parse_qs(urlsplit(url).query)
    except (ValueError, TypeError, SyntaxError):
        # Their texts quote the URL, and with it the password.
        raise InvalidUrl("cannot be read as amqp://user:password@host:5672/vhost") from None
    parsed.ssl_options = _tls(parsed, files)
    defaults = {
        "heartbeat": HEARTBEAT_SECONDS,
        "socket_timeout": CONNECT_SECONDS,
        "stack_timeout": HANDSHAKE_SECONDS,
        "tcp_options": _tcp_options(),
    }
    for name, value in defaults.items():
        if name not in given:
            setattr(parsed, name, value)
    parsed.connection_attempts = 1
    parsed.client_properties = {
        **(parsed.client_properties or {}),
        "connection_name": f"verification-worker {role} {socket.gethostname()}",
    }
    return parsed


def _without_files(url: str) -> tuple[str, TlsFiles]:
    parts = urlsplit(url)
    query = parse_qs(parts.query, keep_blank_values=True)
    if "ssl_options" in query:
        # They could name another host than the one that is checked, and an older TLS.
        raise InvalidUrl("must not have ssl_options: name cacertfile, certfile and keyfile")
    authorities, certificate, key = (
        query.pop(name, [None])[0] for name in ("cacertfile", "certfile", "keyfile")
    )
    rest = parts._replace(query=urlencode(query, doseq=True))
    return rest.geturl(), TlsFiles(authorities, certificate, key)


def _tls(parsed: Any, files: TlsFiles) -> Tls | None:
    """Return the one way in which we speak TLS; None for a URL that asks for none."""
    if parsed.ssl_options is not None:
        return Tls(files)
    if files != TlsFiles():
        raise InvalidUrl("must begin with amqps:// where files for TLS are named")
    return None


def _tcp_options() -> dict[str, int]:
    if not hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux only
        return {}
    return {"TCP_USER_TIMEOUT": UNSENT_SECONDS * 1000}


def place(parsed: Any) -> str:
    """Return where that is, for logs: host, port and vhost, never a user or a password."""
    return f"{parsed.host}:{parsed.port}/{parsed.virtual_host.removeprefix('/')}"
