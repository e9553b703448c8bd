"""What the parts cost alone: the least that any worker on these libraries pays for a message.

    .venv/bin/python -m tests.bench.ceilings

CPU seconds (user + system) of this process per 1,000, in one run on one set of servers.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika
import requests
import sqlalchemy
import urllib3

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "local"))

from local_stack import Servers
from tests.bench import stand_in
from tests.bench.peers.common import Settings, Signer
from tests.bench.soak_load import id_card
from worker.core.request import CheckType, Person, PersonField, VerificationRequest
from worker.provider.client import PersonalAuthClient
from worker.provider.config import ProviderConfig

if TYPE_CHECKING:
    from collections.abc import Callable

_PERSON = {PersonField.NAME: "张三", PersonField.ID_CARD: id_card(1)}
_SPEC = {"checkType": 2, "personalUser": {"name": "张三", "idCard": id_card(1)}}
_BODY = json.dumps({"personalSpec": _SPEC}).encode()
_ROWS = 100


def measure(name: str, count: int, work: Callable[[], object]) -> None:
    """Do it and print what it cost; `count` is how many messages it stands for."""
    cpu, started = time.process_time(), time.monotonic()
    work()
    cpu, seconds = time.process_time() - cpu, time.monotonic() - started
    print(
        f"{name:<52}{cpu / count * 1000:7.3f} CPU s / 1,000 {count / seconds:8,.0f}/s", flush=True
    )


def _settings(url: str) -> Settings:
    return Settings("", "", url, "KEY", "SECRET", b"", 1, 1, 1)


def through_requests(url: str, count: int, threads: int) -> None:
    """Make signed calls with a session for each thread, its environment ignored."""
    signer = Signer(_settings(url))

    def some(calls: int) -> None:
        with requests.Session() as session:
            session.trust_env = False
            for _ in range(calls):
                session.post(url, data=_BODY, headers=signer.headers(_BODY), timeout=25).json()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, [count // threads] * threads))


def through_urllib3(url: str, count: int) -> None:
    """Make signed calls over one pool."""
    signer = Signer(_settings(url))
    with urllib3.PoolManager(maxsize=1, retries=False) as pool:
        for _ in range(count):
            pool.request("POST", url, body=_BODY, headers=signer.headers(_BODY), timeout=25).json()


def through_our_client(url: str, count: int, threads: int) -> None:
    """Make calls as the worker does: signed, bound by a deadline, classified."""
    config = ProviderConfig(url=url, access_key="KEY", secret_key="SECRET", pool_size=threads)
    request = VerificationRequest(
        "bench", CheckType.ID_CARD_TWO_FACTOR, Person(_PERSON), "bench", None, None
    )
    with PersonalAuthClient(config) as client, ThreadPoolExecutor(threads) as pool:

        def some(calls: int) -> None:
            for _ in range(calls):
                client.verify(request)

        list(pool.map(some, [count // threads] * threads))


def publish(channel: Any, count: int) -> None:
    """Publish persistent messages in a transaction: confirms of a blocking channel do not queue."""
    channel.tx_select()
    for _ in range(count):
        channel.basic_publish("", "ceiling", _BODY, pika.BasicProperties(delivery_mode=2))
    channel.tx_commit()


def consume(channel: Any, count: int) -> None:
    """Consume and acknowledge, a hundred with one frame."""
    channel.basic_qos(prefetch_count=500)
    for number, (method, _, _) in enumerate(channel.consume("ceiling"), 1):
        if number % 100 == 0:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if number == count:
            break
    channel.cancel()


def commit(engine: sqlalchemy.Engine, batches: int) -> None:
    """Insert and commit batches, each one statement."""
    insert = sqlalchemy.text(
        "INSERT INTO ceiling SELECT * FROM json_to_recordset(CAST(:rows AS json))"
        " AS t(id text, source text, outcome text)"
    )
    with engine.connect() as database:
        for batch in range(batches):
            rows = [
                {"id": f"{batch}-{number}", "source": "bench", "outcome": "match"}
                for number in range(_ROWS)
            ]
            database.execute(insert, {"rows": json.dumps(rows)})


def main() -> None:
    """Measure all of them."""
    calls, messages = 3000, 20_000
    with Servers({}) as servers:
        with stand_in.instant() as url:
            for threads in (1, 16):
                measure(
                    f"signed calls through requests, {threads} threads",
                    calls,
                    lambda threads=threads: through_requests(url, calls, threads),  # type: ignore[misc]
                )
            measure(
                "signed calls through urllib3, 1 thread", calls, lambda: through_urllib3(url, calls)
            )
            for threads in (1, 16):
                measure(
                    f"our client, {threads} threads",
                    calls,
                    lambda threads=threads: through_our_client(url, calls, threads),  # type: ignore[misc]
                )
        with pika.BlockingConnection(pika.URLParameters(servers.broker.url)) as connection:
            channel = connection.channel()
            channel.queue_declare("ceiling", durable=True, arguments={"x-queue-type": "quorum"})
            measure("pika: publish, one transaction", messages, lambda: publish(channel, messages))
            channel = connection.channel()
            measure("pika: consume, one ack for 100", messages, lambda: consume(channel, messages))
        url = servers.database.create_database("ceilings").replace("://", "+psycopg://")
        engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as database:
            database.execute(
                sqlalchemy.text(
                    "CREATE TABLE ceiling (id text PRIMARY KEY, source text, outcome text)"
                )
            )
        measure(
            f"SQLAlchemy: commits of {_ROWS} rows",
            messages,
            lambda: commit(engine, messages // _ROWS),
        )
        engine.dispose()


if __name__ == "__main__":
    main()
