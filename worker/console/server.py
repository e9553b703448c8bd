"""The server: opens the port, says where, and serves until it is told to end."""

import asyncio
import logging
import signal
from concurrent.futures import ThreadPoolExecutor

import structlog
from aiohttp import web
from sqlalchemy import Engine

from worker.admin.status_parts import PATIENCE
from worker.console.application import Application
from worker.console.asking import Actions
from worker.console.boxes import dead_letters, unrouted_events
from worker.console.guard import Guard
from worker.console.letter_pages import LetterPages
from worker.console.pages import Pages
from worker.contract.encryption import MessageKeys
from worker.settings import ConsoleSettings
from worker.store.engine import open_engine
from worker.telemetry.logs import LogEvent

# The overview asks for a dozen parts, most of them of the database, whose pool lends four.
_THREADS = 16
# Pages that are being answered get so long at the end.
_LAST_SECONDS = 5.0


def application(settings: ConsoleSettings, engine: Engine, guard: Guard) -> web.Application:
    """Put the pages together."""
    actions, whole = Actions(), Application(guard)
    url, keys = settings.amqp_url.get_secret_value(), MessageKeys.of(settings)
    Pages(settings, engine, settings.digests, actions).add_to(whole)
    for box in (dead_letters(url, guard.sign, engine, keys), unrouted_events(url, guard.sign)):
        LetterPages(box, actions).add_to(whole)
    whole.web.on_shutdown.append(actions.end)
    return whole.web


async def serve_until_signalled(
    settings: ConsoleSettings, guard: Guard, host: str, port: int
) -> None:
    """Serve until SIGTERM or SIGINT; the process's main thread only.

    Raises `OSError` where the port cannot be opened.
    """
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, "console"))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    url = settings.database_url.get_secret_value()
    engine = open_engine(url, "console", pooled=settings.is_pooled, patience=PATIENCE)
    silent = logging.Logger("console", logging.CRITICAL + 1)  # aiohttp quotes what is no HTTP
    runner = web.AppRunner(
        application(settings, engine, guard),
        access_log=None,
        logger=silent,
        shutdown_timeout=_LAST_SECONDS,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        where = f"[{host}]" if ":" in host else host
        address = f"http://{where}:{runner.addresses[0][1]}/"
        structlog.get_logger().info(LogEvent.CONSOLE_LISTENING, url=address)
        await stopping.wait()
    finally:
        await runner.cleanup()
        engine.dispose()
