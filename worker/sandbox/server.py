"""The server: opens the port, says where, and serves until it is told to end."""

import asyncio
import logging
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from aiohttp import web
from aiohttp.http import HttpProcessingError

from worker.sandbox.application import MAX_BODY, StandIn
from worker.sandbox.settings import CALL_PATH, SandboxSettings

# More clients than a load test opens at once; the kernel's own limit is 4,096.
_BACKLOG = 1024
# Whoever waits for an answer when the sandbox stops gets none: as after a crash.
_DROP_SECONDS = 0.01
# What aiohttp raises where the bytes are no HTTP.
_QUOTING = (HttpProcessingError, web.RequestPayloadError)


async def serve_until_signalled(settings: SandboxSettings) -> None:
    """Serve until SIGTERM or SIGINT; the process's main thread only.

    One line on standard error says the address once the port is open. Raises `OSError` where it
    cannot be opened.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with listening(settings, StandIn(settings, time.time, asyncio.sleep)) as port:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        sys.stderr.write(f"sandbox: listening on http://{host}:{port}{CALL_PATH}\n")
        sys.stderr.flush()
        await stopping.wait()


@asynccontextmanager
async def listening(
    settings: SandboxSettings, stand_in: StandIn, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    """Open the port, and give its number; at the end drop every connection."""
    loop = asyncio.get_running_loop()
    server = web.Server(
        stand_in.handle,
        request_factory=partial(web.BaseRequest, loop=loop, client_max_size=MAX_BODY),
        access_log=None,
        logger=_logger(),
        auto_decompress=False,  # what was signed is what was sent
        handler_cancellation=True,  # a client that gives up ends its call
    )
    runner = web.ServerRunner(server, shutdown_timeout=_DROP_SECONDS)
    await runner.setup()
    try:
        await _site(runner, settings, tls).start()
        port: int = runner.addresses[0][1]
        yield port
    finally:
        await runner.cleanup()


def _site(
    runner: web.ServerRunner, settings: SandboxSettings, tls: ssl.SSLContext | None
) -> web.BaseSite:
    """Return what listens; `::` takes IPv4 as well, which asyncio by itself rules out."""
    host, port = settings.host, settings.port
    if host == "::" and socket.has_dualstack_ipv6():
        every = socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True)
        return web.SockSite(runner, every, ssl_context=tls, backlog=_BACKLOG)
    return web.TCPSite(runner, host, port, ssl_context=tls, backlog=_BACKLOG)


def _logger() -> logging.Logger:
    """Return aiohttp's logger, less what quotes bytes that are no HTTP: they may be a person's."""
    logger = logging.Logger("sandbox")
    logger.addHandler(logging.StreamHandler())
    logger.addFilter(
        lambda record: not (record.exc_info and isinstance(record.exc_info[1], _QUOTING))
    )
    return logger
