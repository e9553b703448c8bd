"""What Python's errors say of a connection that did not come about. Any thread may enter."""

import errno
import socket
import ssl
from collections.abc import Iterator

from worker.core.connecting import ConnectionFailed, Unconnected

# Codes of X509_verify_cert_error (OpenSSL's x509_vfy.h).
_EXPIRED = 10
_UNTRUSTED = (18, 19, 20, 21)
_OTHER_HOST = (62, 64)

# Why OpenSSL gives up where the other side speaks something else.
_NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE")
_WANTS_CERTIFICATE = "TLSV13_ALERT_CERTIFICATE_REQUIRED"

_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL)
_CLOSED = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, EOFError)


def why_unconnected(error: BaseException) -> Unconnected:
    """Return what an error means, or else what it was raised from."""
    return next(filter(None, map(_why, _chain(error))), Unconnected.OTHER)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those behind it; libraries hand one on as an argument of their own."""
    seen: set[int] = set()
    rest: list[object] = [error]
    while rest:
        each = rest.pop(0)
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            rest += [*each.args, each.__cause__, each.__context__]


def _why(error: BaseException) -> Unconnected | None:
    if isinstance(error, ConnectionFailed):
        return error.why
    if isinstance(error, ssl.SSLError):
        return _why_no_tls(error)
    # A host name that no DNS can know, for a label of it is empty or too long, is a UnicodeError.
    if isinstance(error, socket.gaierror | UnicodeError):
        return Unconnected.DNS
    if isinstance(error, ConnectionRefusedError):
        return Unconnected.REFUSED
    if isinstance(error, TimeoutError):
        return Unconnected.TIMEOUT
    if isinstance(error, _CLOSED):
        return Unconnected.CLOSED
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return Unconnected.UNREACHABLE
    return None


def _why_no_tls(error: ssl.SSLError) -> Unconnected:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_HOST:
            return Unconnected.TLS_HOST
        if error.verify_code == _EXPIRED:
            return Unconnected.TLS_EXPIRED
        return Unconnected.TLS_UNTRUSTED if error.verify_code in _UNTRUSTED else Unconnected.TLS
    if error.reason == _WANTS_CERTIFICATE:
        return Unconnected.TLS_CLIENT
    return Unconnected.TLS_ABSENT if error.reason in _NO_TLS else Unconnected.TLS
