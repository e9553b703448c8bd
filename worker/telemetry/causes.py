"""What Python's errors say of a connection that did not come about. Any thread may enter."""

import errno
import socket
import ssl
from collections.abc import Iterator

from worker.core.connecting import ConnectionFailed, Unconnected

# Codes of X509_verify_cert_error (OpenSSL's x509_vfy.h).
_OF_CERTIFICATES = {
    10: Unconnected.TLS_EXPIRED,
    **dict.fromkeys((18, 19, 20, 21), Unconnected.TLS_UNTRUSTED),
    **dict.fromkeys((62, 64), Unconnected.TLS_HOST),
}
# Why OpenSSL gives up; three of them where the other side speaks something else.
_OF_TLS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": Unconnected.TLS_CLIENT,
    "WRONG_VERSION_NUMBER": Unconnected.TLS_ABSENT,
    "UNEXPECTED_EOF_WHILE_READING": Unconnected.TLS_ABSENT,
    "RECORD_LAYER_FAILURE": Unconnected.TLS_ABSENT,
}
_CLOSED = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, EOFError)
# A host name that no DNS can know, for a label of it is empty or too long, is a UnicodeError.
_OF_KINDS = {
    (socket.gaierror, UnicodeError): Unconnected.DNS,
    (ConnectionRefusedError,): Unconnected.REFUSED,
    (TimeoutError,): Unconnected.TIMEOUT,
    _CLOSED: Unconnected.CLOSED,
}
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL)


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
    if isinstance(error, ssl.SSLCertVerificationError):
        return _OF_CERTIFICATES.get(error.verify_code, Unconnected.TLS)
    if isinstance(error, ssl.SSLError):
        return _OF_TLS.get(error.reason, Unconnected.TLS)
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return Unconnected.UNREACHABLE
    return next((why for kinds, why in _OF_KINDS.items() if isinstance(error, kinds)), None)
