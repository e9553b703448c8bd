"""aio-pika, aiohttp and asyncpg by hand: the fastest of the peers.

As their documentation has it: a robust connection; one channel to consume, its prefetch the
number of messages under way, and one to publish, in confirm mode, where `publish` returns when
the broker has confirmed and many may wait at once; asyncpg's pool, whose statements outside a
transaction commit by themselves and stay prepared; one aiohttp session for the whole program, whose
connector bounds the calls in flight. The pool's `reset` is replaced by one that
does nothing, for no statement changes the session: the default costs a round trip each time.

UVLOOP=1 runs it on uvloop, which the three libraries support but do not ask for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from contextlib import AsyncExitStack
from typing import Any

import aio_pika
import aiohttp
import asyncpg

from tests.bench.peers import common
from tests.bench.peers.common import Answer, CallFailed, InvalidRequest, Request, Settings, Signer
from tests.bench.peers.queues import PEERS, QUORUM

QUEUE = PEERS["raw_asyncio"].queue

_log = logging.getLogger("peer.asyncio")


def _numbered(statement: str) -> str:
    """Write psycopg's placeholders as PostgreSQL's own, $1 and so on."""
    numbers = iter(range(1, 100))
    return re.sub("%s", lambda _: f"${next(numbers)}", statement)


_CLAIM, _FIND, _FINISH = (_numbered(each) for each in (common.CLAIM, common.FIND, common.FINISH))


async def _keep(connection: Any) -> None:
    """Hand a connection back as it is."""


class Worker:
    """Handles messages, each in a task of its own."""

    def __init__(self, settings: Settings, pool: Any, session: Any, exchange: Any) -> None:
        self._provider_url = settings.provider_url
        self._signer = Signer(settings)
        self._pool = pool
        self._session = session
        self._exchange = exchange
        self._under_way: set[asyncio.Task[Any]] = set()

    async def handle(self, message: Any) -> None:
        """Do the job and settle the message."""
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            await self._process(message)
        except InvalidRequest as refusal:
            _log.warning("rejected: %s", refusal)
            await message.reject(requeue=False)
        except Exception:  # noqa: BLE001 - whatever it was, the message goes back
            _log.exception("failed")
            await message.nack(requeue=True)
        else:
            await message.ack()
        finally:
            self._under_way.discard(task)

    async def finish(self) -> None:
        """Return when nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _process(self, message: Any) -> None:
        request = common.read_request(message.body)
        answer = await self._claim(request)
        if answer is None:
            answer = await self._call(request)
            await self._pool.execute(_FINISH, *answer, request.request_id)
        happened = common.event(request, answer)
        publication = aio_pika.Message(
            happened.body,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=happened.request_id,
        )
        await self._exchange.publish(publication, happened.routing_key, mandatory=False)
        _log.info("verified %s: %s", happened.request_id, happened.routing_key)

    async def _claim(self, request: Request) -> Answer | None:
        if await self._pool.fetchrow(_CLAIM, *request[:-1]) is not None:
            return None
        return common.known_answer(request, await self._pool.fetchrow(_FIND, request.request_id))

    async def _call(self, request: Request) -> Answer:
        try:
            async with self._session.post(
                self._provider_url,
                data=request.body,
                headers=self._signer.headers(request.body),
                allow_redirects=False,
            ) as response:
                return common.read_answer(response.status, await response.read())
        except (aiohttp.ClientError, TimeoutError) as failure:
            raise CallFailed(type(failure).__name__) from failure


async def run(settings: Settings) -> None:
    """Consume until SIGTERM, finish what is under way, and return."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with AsyncExitStack() as stack:
        pool: Any = await stack.enter_async_context(
            asyncpg.create_pool(
                settings.database_url,
                min_size=settings.connections,
                max_size=settings.connections,
                reset=_keep,
            )
        )
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=settings.concurrency),
                timeout=aiohttp.ClientTimeout(
                    total=common.CALL_SECONDS, sock_connect=common.CONNECT_SECONDS
                ),
            )
        )
        connection: Any = await aio_pika.connect_robust(settings.amqp_url)
        await stack.enter_async_context(connection)
        publishing = await connection.channel(publisher_confirms=True)
        exchange = await publishing.get_exchange(common.RESULTS, ensure=False)
        consuming = await connection.channel(publisher_confirms=False)
        await consuming.set_qos(prefetch_count=settings.prefetch)
        queue = await consuming.declare_queue(QUEUE, durable=True, arguments=QUORUM)
        worker = Worker(settings, pool, session, exchange)
        tag = await queue.consume(worker.handle)
        await stopping.wait()
        await queue.cancel(tag)
        await worker.finish()


def main() -> None:
    """Run it, on uvloop if that is asked for."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = Settings.from_environment()
    if os.environ.get("UVLOOP") == "1":
        import uvloop

        uvloop.run(run(settings))
    else:
        asyncio.run(run(settings))


if __name__ == "__main__":
    main()
