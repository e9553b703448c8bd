"""FastStream on aio-pika, with aiohttp and psycopg.

As its documentation has it: a `RabbitQueue` of the type quorum; a `Channel` of its own for the
subscriber, whose prefetch is what bounds the messages under way, and the default channel to
publish, with confirms; the handler returns and FastStream acks, `NACK_ON_ERROR` hands back what
failed, `RejectMessage` drops what is no request; `persist=True` for the event. `apply_types` is
off, which spares FastDepends' validation, for the job checks its requests itself. FastStream's
own two lines a message, "Received" and "Processed", are put at DEBUG in favour of one.

psycopg's asynchronous pool in autocommit, not SQLAlchemy's asyncio extension, for it is the
faster: 1.4 against 1.8 CPU seconds per 1,000 messages, side by side.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import psycopg_pool
from faststream import AckPolicy, FastStream
from faststream.exceptions import RejectMessage
from faststream.rabbit import (
    Channel,
    ExchangeType,
    QueueType,
    RabbitBroker,
    RabbitExchange,
    RabbitQueue,
)

from tests.bench.peers.awaiting import Provider
from tests.bench.peers.common import (
    CALL_SECONDS,
    CLAIM,
    FIND,
    FINISH,
    RESULTS,
    Answer,
    InvalidRequest,
    Request,
    Settings,
    event,
    known_answer,
    read_request,
)
from tests.bench.peers.queues import PEERS

QUEUE = PEERS["faststream_worker"].queue

_log = logging.getLogger("peer.faststream")


class Ledger:
    """The table, through psycopg's pool."""

    def __init__(self, settings: Settings) -> None:
        self.pool = psycopg_pool.AsyncConnectionPool(
            settings.database_url,
            min_size=settings.connections,
            max_size=settings.connections,
            kwargs={"autocommit": True},
            open=False,
        )

    async def claim(self, request: Request) -> Answer | None:
        """Claim a request; return its answer if it has one already."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute(CLAIM, request.claim())
            if await cursor.fetchone() is not None:
                return None
            cursor = await connection.execute(FIND, (request.request_id,))
            row = await cursor.fetchone()
        return known_answer(request, row)

    async def finish(self, request: Request, answer: Answer) -> None:
        """Save an answer."""
        async with self.pool.connection() as connection:
            await connection.execute(FINISH, (*answer, request.request_id))


def build(settings: Settings, ledger: Ledger, provider: Provider) -> Any:
    """Return the application."""
    broker: Any = RabbitBroker(
        settings.amqp_url,
        apply_types=False,
        logger=_log,
        log_level=logging.DEBUG,
        graceful_timeout=CALL_SECONDS + 5,
    )
    results = RabbitExchange(RESULTS, type=ExchangeType.TOPIC, declare=False)

    async def verify(message: object) -> None:
        try:
            request = read_request(message, settings.digest_key)
            answer = await ledger.claim(request)
        except InvalidRequest as refusal:
            _log.warning("rejected: %s", refusal)
            raise RejectMessage from refusal
        if answer is None:
            answer = await provider.call(request)
            await ledger.finish(request, answer)
        happened = event(request, answer)
        await broker.publish(
            happened.body,
            exchange=results,
            routing_key=happened.routing_key,
            content_type="application/json",
            message_id=happened.request_id,
            persist=True,
            mandatory=False,
        )
        _log.info("verified %s: %s", happened.request_id, happened.routing_key)

    broker.subscriber(
        RabbitQueue(QUEUE, queue_type=QueueType.QUORUM),
        channel=Channel(prefetch_count=settings.prefetch),
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )(verify)
    application: Any = FastStream(broker, logger=_log)

    @application.after_startup  # type: ignore[untyped-decorator, unused-ignore]
    async def ready() -> None:
        print("ready", flush=True)

    return application


async def run(settings: Settings) -> None:
    """Consume until SIGTERM; FastStream waits for what is under way."""
    ledger = Ledger(settings)
    async with ledger.pool, Provider(settings) as provider:
        await build(settings, ledger, provider).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(run(Settings.from_environment()))
