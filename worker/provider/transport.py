"""One exchange with the provider: bytes out, bytes in, faults named once. Any pool thread.

Unanswered      no whole answer came; whether a byte left, the armed call knows
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, cast

from requests import PreparedRequest, Request, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import DecodeError, HTTPError
from urllib3.response import HTTPResponse
from urllib3.util import parse_url

from worker.provider.answer import Answer
from worker.provider.config import ProviderConfig
from worker.provider.deadline import Reaper
from worker.provider.dialing import Proxy
from worker.provider.signing import canonical_target
from worker.provider.watched_pool import WatchedPool, WatchedTlsPool

# JD's answers are below 1 kB and a gateway's page below 10; 256 KiB bound what a broken or
# malicious one can make 256 threads hold (64 MiB).
MAX_ANSWER = 256 * 1024


class Unanswered(Exception):
    """No whole answer came; `http_status` is known where its head did."""

    def __init__(self, http_status: int | None = None) -> None:
        super().__init__("no whole answer came")
        self.http_status = http_status


@dataclass(frozen=True, slots=True)
class Received:
    """A whole answer. `body` is None where it is larger than we read or cannot be decoded."""

    status: int
    retry_after: str | None
    body: bytes | None = field(repr=False)
    server: str | None = None


class Transport(HTTPAdapter):
    """Posts signed bodies to the one address there is, over requests' adapter with its own pool.

    Redirects are not followed, nothing is retried (a repeat needs a new nonce), no environment and
    so no proxy of it is heeded, and certificates are checked against one bundle that is read here.
    """

    def __init__(
        self,
        config: ProviderConfig,
        auth: Callable[[PreparedRequest], object],
        reaper: Reaper,
    ) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        address = Request("POST", config.url).prepare()
        self._url, self._target = str(address.url), address.path_url
        self.sign = auth
        """Signs each request; it may be replaced between two sends."""
        self._reaper = reaper
        self._pool = _pool(config, self._url, reaper)
        self._headers = {
            "Host": canonical_target(self._url).host,
            "User-Agent": "verification-worker",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
        }

    def post(self, body: bytes) -> Received:
        """Sign and send a body as this thread's armed call; raise `Unanswered`."""
        request = PreparedRequest()
        request.method = "POST"
        request.url = self._url
        # A plain dict: copying requests' own on every layer took as long as signing.
        headers = {**self._headers, "Content-Length": str(len(body))}
        request.headers = headers  # type: ignore[assignment]
        request.body = body
        self.sign(request)
        try:
            response = self.send(request, stream=True)
        except (RequestException, HTTPError, HTTPException, OSError) as exc:
            raise Unanswered from exc
        return self._read(cast("Answer", response.raw))

    def _read(self, answer: Answer) -> Received:
        status = answer.status
        try:
            body = _whole_body(answer)
        except (HTTPError, HTTPException, OSError) as exc:
            raise Unanswered(status) from exc
        # An answer that ends with the connection looks whole when the reaper ends it.
        if self._reaper.current().ended:
            raise Unanswered(status)
        headers = answer.headers
        return Received(status, headers.get("retry-after"), body, headers.get("server"))

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()
        super().close()

    # requests asks these for each call; its own answers to the last two would cost 60 µs.

    def get_connection_with_tls_context(self, *_: object, **__: object) -> WatchedPool:
        """Return the one pool."""
        return self._pool

    def cert_verify(self, *_: object, **__: object) -> None:
        """Leave the pool's TLS as it was made."""

    def request_url(self, *_: object, **__: object) -> str:
        """Return the one path."""
        return self._target

    def build_response(self, req: PreparedRequest, resp: Answer) -> Response:  # type: ignore[override]
        """Return the response without what nobody reads: headers, cookies, encoding."""
        response = Response()
        response.status_code = resp.status
        response.raw = resp
        response.request = req
        return response


def _whole_body(answer: Answer) -> bytes | None:
    """Return the body, None where it is unreadable; raise an error where it is cut short."""
    try:
        reading: Any = answer
        if "content-encoding" in answer.headers:
            # We ask for none; a gateway that compresses all the same is read, within the limit.
            reading = HTTPResponse(answer, answer.headers, preload_content=False)  # type: ignore[arg-type]
        body: bytes = reading.read(MAX_ANSWER + 1)
        if len(body) > MAX_ANSWER:
            return None
        if answer.length:
            raise HTTPException("the body is shorter than its Content-Length")
    except DecodeError:
        return None
    else:
        return body
    finally:
        answer.release()


def _pool(config: ProviderConfig, url: str, reaper: Reaper) -> WatchedPool:
    """Return the pool for an address; https checks certificate and host name (TLS 1.2 at least)."""
    parts = parse_url(url)
    options: dict[str, Any] = {
        "host": parts.host,
        "port": parts.port,
        "maxsize": config.pool_size,
        "timeout": config.connect_timeout,
        "reaper": reaper,
        "keep_idle": config.keep_idle,
        "through": None if config.proxy is None else Proxy.of(config.proxy),
    }
    if parts.scheme != "https":
        return WatchedPool(**options)
    context = ssl.create_default_context(cafile=config.ca_file or DEFAULT_CA_BUNDLE_PATH)
    return WatchedTlsPool(**options, ssl_context=context)
