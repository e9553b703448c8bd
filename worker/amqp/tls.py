"""TLS to the broker: whose certificate is trusted, which one is ours, and what a refusal means.

Never less than TLS 1.2, always with the host's name checked; without a file of authorities the
system's are trusted. The files are read for every connection: mounted certificates are renewed
while the worker runs.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from pika import SSLOptions

from worker.amqp.broker_errors import AmqpError, InvalidUrl

# Codes of X509_verify_cert_error (OpenSSL's x509_vfy.h).
_EXPIRED = 10
_UNTRUSTED = (18, 19, 20, 21)
_OTHER_HOST = (62, 64)

_NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE")


class TlsFailed(AmqpError):
    """The broker's certificate is refused, or no TLS is spoken; the text says what to do."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files."""

    authorities: str | None = None
    certificate: str | None = None
    key: str | None = None


class Tls(SSLOptions):  # type: ignore[misc]  # pika has no types
    """pika's options, their context made anew at each look. Raises InvalidUrl at the first one."""

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
        try:
            self._usable = _context(self._files)
        except (OSError, ValueError):
            return self._usable
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
            raise TlsFailed(_advice(error)) from error


def _advice(error: Any) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        if error.reason in _NO_TLS:
            return "no TLS is spoken there: amqps:// needs the broker's TLS port, usually 5671"
        return f"the TLS handshake failed ({error.reason or type(error).__name__})"
    if error.verify_code in _OTHER_HOST:
        return "the certificate is for another host: AMQP_URL must name one that it is for"
    if error.verify_code == _EXPIRED:
        return "the certificate has expired: renew it on the broker"
    if error.verify_code in _UNTRUSTED:
        return "the certificate's CA is not trusted: AMQP_CA_FILE must name that CA's file"
    return f"the certificate is refused: {error.verify_message}"
