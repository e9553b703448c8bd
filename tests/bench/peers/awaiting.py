"""The call for peers on asyncio: one aiohttp session, whose connector bounds the calls in flight.

aiohttp's documentation recommends one session for the whole program; its connector's `limit` is
the number of connections, and a call that finds none free waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import aiohttp

from tests.bench.peers.common import (
    CALL_SECONDS,
    CONNECT_SECONDS,
    Answer,
    CallFailed,
    Request,
    Settings,
    Signer,
    read_answer,
)

if TYPE_CHECKING:
    from types import TracebackType


class Provider:
    """Makes calls, as many at once as the settings allow."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.provider_url
        self._signer = Signer(settings)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=settings.concurrency),
            timeout=aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS),
        )

    async def call(self, request: Request) -> Answer:
        """Return the answer. Raises CallFailed."""
        try:
            async with self._session.post(
                self._url,
                data=request.body,
                headers=self._signer.headers(request.body),
                allow_redirects=False,
            ) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as failure:
            raise CallFailed(type(failure).__name__) from failure
        return read_answer(response.status, body)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()
