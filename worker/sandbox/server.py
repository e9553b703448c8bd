"""The server: the sandbox in a thread of its own, for tests, or as a process, for the command."""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from worker.sandbox.charges import ChargeCounts
from worker.sandbox.connection import Connection
from worker.sandbox.endpoint import PATH, Endpoint
from worker.sandbox.settings import SandboxSettings

# More clients than a load test opens at once; the kernel's own limit is 4,096.
_BACKLOG = 1024
# Binding a port takes a millisecond; a minute says that the machine, not the sandbox, is stuck.
_START_SECONDS = 60.0


class Sandbox:
    """The sandbox in a background thread; a context manager. Counts survive stop and start.

    `ValueError` where `settings.unlisted` names no behaviour. `clock` returns epoch seconds.
    """

    def __init__(
        self, settings: SandboxSettings | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings or SandboxSettings()
        self._endpoint = Endpoint(self.settings, clock)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event
        self._port = 0

    def start(self) -> Self:
        """Return once the port is open; raise `OSError` where it cannot be opened."""
        if self._thread is not None:
            raise RuntimeError("the sandbox is already started")
        started: Future[int] = Future()
        thread = threading.Thread(
            target=self._run, args=(started,), name="verification-sandbox", daemon=True
        )
        thread.start()
        try:
            self._port = started.result(_START_SECONDS)
        except OSError:
            thread.join()
            raise
        self._thread = thread
        return self

    def stop(self) -> None:
        """Close the port and drop every connection; does nothing where it is not started."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            thread.join()

    @property
    def port(self) -> int:
        """The port that is, or was last, open."""
        return self._port

    @property
    def address(self) -> str:
        """`http://host:port`, for `/charges`, `/scenario`, `/reset` and `/healthz`."""
        return address(self.settings.host, self._port)

    @property
    def url(self) -> str:
        """Where calls go: what the worker's PROVIDER_URL is set to."""
        return self.address + PATH

    def charges(self) -> ChargeCounts:
        """Return the counts of this moment, also after `stop`."""
        return self._endpoint.counts()

    def wait_for_calls(self, calls: int, timeout: float = 10.0) -> bool:
        """Return True as soon as so many calls have arrived, False after `timeout` seconds."""
        return self._endpoint.wait_for_calls(calls, timeout)

    def reset(self) -> None:
        """Zero the counts and end the scenario; whatever happens "at first" happens again."""
        self._endpoint.reset()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self, started: Future[int]) -> None:
        try:
            asyncio.run(self._serve(started))
        except OSError as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _serve(self, started: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        async with _listening(self.settings, self._endpoint) as port:
            started.set_result(port)
            await self._stopping.wait()


def serve_forever(settings: SandboxSettings, announce: Callable[[str], None] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, then return the exit code 0. The process's main thread only.

    `announce` gets one line with the address once the port is open; without it the line goes to
    standard error. Raises `OSError` where the port cannot be opened.
    """
    return asyncio.run(_serve_until_signalled(settings, announce or _to_stderr))


async def _serve_until_signalled(settings: SandboxSettings, announce: Callable[[str], None]) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with _listening(settings, Endpoint(settings, time.time)) as port:
        announce(f"sandbox: listening on {address(settings.host, port)}{PATH}")
        await stopping.wait()
    return 0


def address(host: str, port: int) -> str:
    """Return the address of a host and port as a URL without a path."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@asynccontextmanager
async def _listening(settings: SandboxSettings, endpoint: Endpoint) -> AsyncGenerator[int]:
    """Open the port, and give its number; at the end drop every connection."""
    connections: set[Connection] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(endpoint, settings, connections),
        settings.host,
        settings.port,
        backlog=_BACKLOG,
    )
    try:
        port: int = server.sockets[0].getsockname()[1]
        yield port
    finally:
        server.close()
        while connections:
            for connection in tuple(connections):
                connection.abort()
            await asyncio.sleep(0)  # aborting takes one round of the loop
        await server.wait_closed()
