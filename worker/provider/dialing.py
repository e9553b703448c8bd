"""The way to the provider, through an HTTP proxy where one is named (CONNECT, RFC 9110, 9.3.6).

Nothing of a call has left while it is being made. Each address gets the connect timeout, for the
proxy's answer and TLS as well, and all of them together what is left of the call.
"""

import re
import socket
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Self
from urllib.parse import unquote, urlsplit

from worker.core.connecting import ConnectionFailed, Unconnected

# An answer to CONNECT has a few lines; a refusal's page is not read.
_LONGEST_HEAD = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
_LOGIN_REQUIRED = b"407"


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where the proxy is, and the header by which it knows who asks."""

    host: str
    port: int
    login: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, url: str) -> Self:
        """Return what a URL says; the settings have checked it."""
        parts = urlsplit(url)
        login = b""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            login = b"Proxy-Authorization: Basic " + b64encode(pair.encode()) + b"\r\n"
        return cls(parts.hostname or "", parts.port or 0, login)


def dial(
    host: str, port: int, proxy: Proxy | None, seconds: float, remaining: Callable[[], float]
) -> socket.socket:
    """Return a socket to host and port; its timeout is what is left for TLS.

    `seconds` bound each try, `remaining` raises where the call has no time left. Raises `OSError`.
    """
    first_stop = (host, port) if proxy is None else (proxy.host, proxy.port)
    try:
        sock, left = _connected(first_stop, seconds, remaining)
    except OSError as error:
        if proxy is None:
            raise
        raise ConnectionFailed(Unconnected.PROXY) from error
    try:
        if proxy is not None:
            _tunnel(sock, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", proxy, left)
        sock.settimeout(left())
    except BaseException:
        sock.close()
        raise
    return sock


def _connected(
    place: tuple[str, int], seconds: float, remaining: Callable[[], float]
) -> tuple[socket.socket, Callable[[], float]]:
    """Return a socket and what tells the seconds that are left for more."""
    fault: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(*place, 0, socket.SOCK_STREAM):
        until = monotonic() + seconds

        def left(until: float = until) -> float:
            if (seconds := min(until - monotonic(), remaining())) <= 0:
                raise TimeoutError("no time is left to connect")
            return seconds

        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(left())
            sock.connect(address)
        except OSError as error:
            sock.close()
            fault = error
        else:
            return sock, left
    raise fault


def _tunnel(sock: socket.socket, target: str, proxy: Proxy, left: Callable[[], float]) -> None:
    """Have the proxy pass on whatever comes next, both ways."""
    head = b""
    try:
        sock.settimeout(left())
        sock.sendall(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (
            target.encode(), target.encode(), proxy.login,
        ))  # fmt: skip
        while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD:
            sock.settimeout(left())
            if not (piece := sock.recv(4096)):
                break
            head += piece
    except OSError as error:
        raise ConnectionFailed(Unconnected.PROXY) from error
    found = _STATUS.match(head)
    # Whatever follows the head would be read as the provider's.
    if found is None or not found[1].startswith(b"2") or not head.endswith(b"\r\n\r\n"):
        is_login = found is not None and found[1] == _LOGIN_REQUIRED
        raise ConnectionFailed(Unconnected.PROXY_LOGIN if is_login else Unconnected.PROXY_REFUSED)
