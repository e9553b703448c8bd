"""How to reach the broker: pika's parameters from our URL, and TLS to it."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pika

from worker.amqp.broker_errors import InvalidUrl, TlsFailed, advice
from worker.settings.addresses import check_amqp_url, shown_parameter
from worker.telemetry.causes import why_unconnected

# A stopped broker is noticed after heartbeat + 5 s: 20 s, against 17 s measured with 5.
HEARTBEAT_SECONDS = 15

# A broker that accepts no connection within 5 s is as good as down; the backoff tries again.
CONNECT_SECONDS = 5.0

# TCP, TLS and the AMQP handshake together. `blocked_connection_timeout` does not cover connecting.
HANDSHAKE_SECONDS = 10.0

# Heartbeats do not notice a peer that takes nothing while the kernel goes on buffering.
UNSENT_SECONDS = 20
_TCP_OPTIONS = (
    {"TCP_USER_TIMEOUT": UNSENT_SECONDS * 1000} if hasattr(socket, "TCP_USER_TIMEOUT") else {}
)  # Linux only

_TLS_FILES = ("cacertfile", "certfile", "keyfile")


def parameters(url: str, role: str) -> Any:
    """Return pika's parameters; `role` is what the management interface shows. Raises InvalidUrl.

    The URL's own query wins, except over `connection_attempts`: trying again is our business.
    Files for TLS have the names there that RabbitMQ's URI specification gives them.
    """
    try:
        check_amqp_url(url)
    except ValueError as error:
        raise InvalidUrl(str(error)) from None
    parts = urlsplit(url)
    given = parse_qs(parts.query, keep_blank_values=True)
    if "ssl_options" in given:
        # They could name another host than the one that is checked, and an older TLS.
        raise InvalidUrl("must not have ssl_options: name cacertfile, certfile and keyfile")
    files = TlsFiles(*(given.pop(name, [None])[0] for name in _TLS_FILES))
    parsed = pika.URLParameters(parts._replace(query="").geturl())
    for name, values in given.items():
        _set(parsed, name, values)
    if parsed.ssl_options is not None:
        parsed.ssl_options = Tls(files)
    elif files != TlsFiles():
        raise InvalidUrl("must begin with amqps:// where files for TLS are named")
    defaults = {
        "heartbeat": HEARTBEAT_SECONDS,
        "socket_timeout": CONNECT_SECONDS,
        "stack_timeout": HANDSHAKE_SECONDS,
        "tcp_options": _TCP_OPTIONS,
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


def _set(parsed: Any, name: str, values: list[str]) -> None:
    """Set what a parameter of the URL says, by pika's own reading of it."""
    shown = shown_parameter(name)
    setter = getattr(parsed, f"_set_url_{name}", None)
    if setter is None:
        advice = ": certificates are always verified" if name == "verify" else ""
        raise InvalidUrl(f"has no parameter {shown}{advice}")
    try:
        (value,) = values
        setter(value)
    # Their texts quote the value; pika reads some as Python, and then anything may be wrong.
    except (ValueError, TypeError, SyntaxError, AttributeError, RecursionError, MemoryError):
        raise InvalidUrl(f"its parameter {shown} has a value that is none") from None


def place(parsed: Any) -> str:
    """Return where that is, for logs: host, port and vhost, never a user or a password."""
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    return f"{host}:{parsed.port}/{parsed.virtual_host.removeprefix('/')}"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files."""

    authorities: str | None = None
    certificate: str | None = None
    key: str | None = None


class Tls(pika.SSLOptions):  # type: ignore[misc]  # pika has no types
    """How we speak TLS: 1.2 at least, the host's name checked, against the system's authorities.

    pika's options, their context made anew for each connection, since mounted certificates are
    renewed while the worker runs. Raises InvalidUrl at the first one.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self.server_hostname = None  # the URL's host is checked
        try:
            self._usable = _context(files)
        except (OSError, ValueError):
            raise InvalidUrl("its TLS files cannot be read as PEM") from None

    @property
    def context(self) -> ssl.SSLContext:
        """The files as they are now; one that is just being replaced is read the next time."""
        with suppress(OSError, ValueError):
            self._usable = _context(self._files)
        return self._usable


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _Socket
    if files.certificate is not None:
        # A key with a password would be asked for on the terminal.
        context.load_cert_chain(files.certificate, files.key, password=lambda: "")
    return context


class _Socket(ssl.SSLSocket):
    """Says in words why a handshake failed: pika hands on whatever is raised here."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            raise TlsFailed(advice(why_unconnected(error))) from error
