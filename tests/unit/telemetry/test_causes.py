"""What an error says is found however deep a library has wrapped it, and each has its words."""

import errno
import socket
import ssl

import pytest

from worker.core.connecting import ConnectionFailed, Unconnected, words
from worker.telemetry.causes import why_unconnected


def refused_certificate(verify_code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "refused")
    error.verify_code = verify_code
    return error


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "failed")
    error.reason = reason
    return error


def raised_from(cause: BaseException) -> BaseException:
    error = ValueError("a library's own")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), Unconnected.DNS),
        (UnicodeError("label empty or too long"), Unconnected.DNS),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Unconnected.REFUSED),
        (OSError(errno.EHOSTUNREACH, "no route"), Unconnected.UNREACHABLE),
        (OSError(errno.ENETUNREACH, "no route"), Unconnected.UNREACHABLE),
        (TimeoutError("slow"), Unconnected.TIMEOUT),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Unconnected.CLOSED),
        (tls_error("TLSV1_ALERT_INTERNAL_ERROR"), Unconnected.TLS),
        (tls_error("WRONG_VERSION_NUMBER"), Unconnected.TLS_ABSENT),
        (tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"), Unconnected.TLS_CLIENT),
        (refused_certificate(20), Unconnected.TLS_UNTRUSTED),
        (refused_certificate(64), Unconnected.TLS_HOST),
        (refused_certificate(10), Unconnected.TLS_EXPIRED),
        (refused_certificate(9), Unconnected.TLS),
        (ConnectionFailed(Unconnected.PROXY_LOGIN), Unconnected.PROXY_LOGIN),
        (OSError(errno.EPERM, "not permitted"), Unconnected.OTHER),
        (RuntimeError("anything"), Unconnected.OTHER),
    ],
)
def test_an_error_means_the_same_however_it_is_wrapped(
    error: BaseException, why: Unconnected
) -> None:
    assert why_unconnected(error) is why
    assert why_unconnected(raised_from(error)) is why
    assert why_unconnected(RuntimeError("wrapped", error)) is why


def test_a_circle_of_errors_has_an_end() -> None:
    one, other = RuntimeError("one"), RuntimeError("other")
    one.__context__, other.__context__ = other, one
    assert why_unconnected(one) is Unconnected.OTHER


@pytest.mark.parametrize("why", Unconnected)
def test_each_has_words_that_name_no_other_setting(why: Unconnected) -> None:
    assert "{" not in words(why, "AMQP")
    assert "AMQP" not in words(why, "PROVIDER")
