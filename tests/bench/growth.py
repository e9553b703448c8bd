"""What a message costs when there is more of everything: rows, backlog, bytes, processes, time.

    .venv/bin/python -m tests.bench.growth --help
    .venv/bin/python -m tests.bench.growth rows --millions 1
    .venv/bin/python -m tests.bench.growth duel ../other-checkout

Each starts its own servers and prints its figures; compare within one run. `deploy/CAPACITY.md`
computes with them.
"""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import typer

from local_database import Database
from local_process import Workspace
from local_stack import Servers
from tests.bench import contestants, stand_in
from tests.bench.contest import COLLECTOR, Arena, request_number
from tests.bench.process_tree import Stopwatch, cpu_seconds
from tests.conftest import migrate
from tests.e2e.harness import BULK, BULK_REQUESTS, CHECKOUT, RESULTS
from tests.fakes.messages import ask
from tests.fakes.verifier import MATCH
from worker.core.claims import ClaimRequest, Entry, Granted
from worker.core.masking import Masked
from worker.core.outcome import AuthInfo, Charged, Complete, Outcome, Result
from worker.core.request import Mode
from worker.store.claiming import LedgerConfig
from worker.store.engine import open_engine
from worker.store.ledger import PostgresLedger

# Rows as the worker leaves them, made by the server itself: 10 million take a few minutes.
_FILL = """
INSERT INTO verification.request (request_id, fingerprint, source, check_type, mode, state, grants,
    attempts, calls, subject_digest, masked_name, masked_id_card, outcome, charged, auth_success,
    auth_has_exception, auth_code, auth_message, auth_detail, requested_at, completed_at,
    event_sent_at, settled_at)
SELECT 'old-' || md5(n::text), sha256(n::text::bytea), 'bench', 2, 'sandbox', 'done', 1, 1, 1,
    sha256((n %% 5000000)::text::bytea), '张*', '1****************X', 'match', 'yes', true, false,
    'ok', '', '{"chargeFlag":"1"}', t, t, t, t
  FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n,
       LATERAL (SELECT now() - make_interval(secs => n * %(spacing)s %% 31536000) AS t) AS moment
"""
_FILL_CALLS = """
INSERT INTO verification.provider_call (request_id, call_number, mode, worker, started_at,
    finished_at, class, charged, http_status, sends, milliseconds, provider_request_id)
SELECT 'old-' || md5(n::text), 1, 'sandbox', 'bench', t, t, 'answered', 'yes', 200, 1, 300,
    md5('call ' || n)
  FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n,
       LATERAL (SELECT now() - make_interval(secs => n * %(spacing)s %% 31536000) AS t) AS moment
"""
_STEP = 500_000


def fill(url: str, first: int, last: int, spacing: int = 1) -> None:
    """Add rows with these numbers, so many seconds apart, and let the planner know."""
    with psycopg.connect(url, autocommit=True) as database:
        for start in range(first, last, _STEP):
            step = {"first": start, "last": min(start + _STEP, last) - 1, "spacing": spacing}
            database.execute(_FILL, step)
            database.execute(_FILL_CALLS, step)
        database.execute("VACUUM ANALYZE verification.request, verification.provider_call")
        database.execute("CHECKPOINT")


@contextmanager
def _ledger(url: str) -> Iterator[PostgresLedger]:
    """Give the ledger of a worker whose name is as long as a pod's."""
    engine = open_engine(url, "bench", by_keys=True)
    config = LedgerConfig("worker-5d9c7b6f4-x2x7k-7-a1b2c3", Mode.LIVE, 60.0, 1)
    try:
        yield PostgresLedger(engine, config)
    finally:
        engine.dispose()


def _work(ledger: PostgresLedger, ids: list[str], announced: list[str]) -> tuple[float, float]:
    """Claim and record these requests at once; return the milliseconds of both."""
    digests = [sha256(each.encode()).digest() for each in ids]
    asked = [
        ask(each, fingerprint=digest, subject=digest, source="bench", masked=_MASKED)
        for each, digest in zip(ids, digests, strict=True)
    ]
    started = time.monotonic()
    granted = ledger.claim(asked, ids[0])
    claimed = time.monotonic()
    entries = [_entry(one, each) for one, each in zip(asked, granted, strict=True)]
    recording = time.monotonic()
    ledger.record(entries, announced)
    return (claimed - started) * 1000, (time.monotonic() - recording) * 1000


_MASKED = Masked("张*", "1****************X", None, None, None)
_INFO = AuthInfo(True, False, "ok", "", '{"chargeFlag":"1"}')


def _entry(asked: ClaimRequest, granted: object) -> Entry:
    assert isinstance(granted, Granted)
    report = replace(MATCH, auth_info=_INFO, provider_request_id=str(uuid.uuid4()))
    result = Result(Outcome.MATCH, Charged.YES, _INFO, report.provider_request_id)
    return Entry(asked, granted, report, Complete(result))


# As anybody sets it who keeps millions of rows: the indexes in memory, a checkpoint now and then.
_LARGE = {"shared_buffers": "4GB", "max_wal_size": "8GB", "checkpoint_timeout": "15min"}


_MILLIONS = [1.0, 10.0]


def rows(millions: list[float] = _MILLIONS) -> None:
    """Claim and record with more and more rows in the tables."""
    with Database(_LARGE) as database:
        url = database.create_database("rows")
        migrate(url)
        filled = 1
        for many in (0.0, *millions):
            wanted = int(many * 1_000_000) + 1
            fill(url, filled, wanted)
            filled = wanted
            for size in (1, 32):
                with _ledger(url) as ledger:
                    times = [
                        _work(ledger, [f"{many}-{size}-{batch}-{n}" for n in range(size)], [])
                        for batch in range(500)
                    ]
                # The first 300 warm up.
                claim, record = map(statistics.median, zip(*times[300:], strict=True))
                print(
                    f"{many:4g} million rows, batches of {size:2}: "
                    f"claim {claim:.2f} ms, record {record:.2f} ms",
                    flush=True,
                )


# Far apart, so that a page is written whole once at most in what is counted.
_NO_CHECKPOINT = {**_LARGE, "max_wal_size": "50GB", "checkpoint_timeout": "1d", "autovacuum": "off"}
_WAL = """
SELECT sum(record_size)::float8, sum(fpi_size)::float8 FROM pg_get_wal_stats(%(start)s, %(end)s)
"""
_WAL_BY_RECORD = """
SELECT "resource_manager/record_type", count, record_size::float8, fpi_size::float8
  FROM pg_get_wal_stats(%(start)s, %(end)s, true) WHERE count > 0
 ORDER BY combined_size DESC LIMIT 16
"""


def wal(rows: int = 700_000, requests: int = 20_000, batch: int = 32) -> None:
    """Count the WAL of requests with random ids, and of the vacuum after them.

    Records and whole pages apart: after a checkpoint each page is written whole once. So many rows
    are in the tables before.
    """
    with Database(_NO_CHECKPOINT) as database:
        url = database.create_database("wal")
        migrate(url)
        fill(url, 1, rows + 1)
        with psycopg.connect(url, autocommit=True) as session, _ledger(url) as ledger:
            session.execute("CREATE EXTENSION pg_walinspect")
            with _counted_wal(session, "requests", requests):
                announced: list[str] = []
                for _ in range(requests // batch):
                    # Among those that are there, whose digests are as random.
                    ids = [f"old-{uuid.uuid4().hex}" for _ in range(batch)]
                    _work(ledger, ids, announced)
                    announced = ids
                ledger.record([], announced)
            session.execute("CHECKPOINT")
            with _counted_wal(session, "their vacuum, after a checkpoint", requests):
                session.execute("VACUUM verification.request, verification.provider_call")
            for row in session.execute(_UPDATES):
                print("{}: {} updates, {} HOT; {} bytes of heap, {} of indexes".format(*row))


_UPDATES = """
SELECT relname, n_tup_upd, n_tup_hot_upd, pg_relation_size(relid), pg_indexes_size(relid)
  FROM pg_stat_user_tables WHERE n_tup_upd > 0 ORDER BY 1
"""


@contextmanager
def _counted_wal(session: psycopg.Connection, of: str, requests: int) -> Iterator[None]:
    """Print what is written ahead meanwhile, by request."""
    here = "SELECT pg_current_wal_insert_lsn()"
    (start,) = session.execute(here).fetchone() or ()
    yield
    (end,) = session.execute(here).fetchone() or ()
    span = {"start": start, "end": end}
    session.execute("SELECT pg_switch_wal()")  # all of it is on disk
    records, pages = session.execute(_WAL, span).fetchone() or (0, 0)
    print(f"{of}: {records / requests:.0f} bytes a request in records, ", end="")
    print(f"{pages / requests:.0f} in whole pages")
    for name, count, size, whole in session.execute(_WAL_BY_RECORD, span):
        parts = [each / requests for each in (count, size, whole)]
        print("  {:28} {:5.2f} records, {:5.0f} bytes, {:6.0f} in whole pages".format(name, *parts))


@contextmanager
def _arena(provider: Callable[[], Any]) -> Iterator[tuple[Arena, Any, str]]:
    with closing(Workspace("bench")) as workspace, Servers({}) as servers, provider() as url:
        yield Arena(servers, workspace), contestants.ours(servers, "ours"), url


def backlog(messages: int = 1_000_000) -> None:
    """Work 20 s on a short and on a long backlog."""
    with _arena(stand_in.instant) as (arena, worker, url):
        for many in (40_000, messages):
            with arena.round(worker, url, {}) as one:
                for start in range(0, many, 100_000):
                    one.publish_backlog(min(100_000, many - start), start)
                tree = one.start()
                done = one.await_events(1, 60)
                watch = Stopwatch(tree, done)
                time.sleep(20)
                done = arena.depth(COLLECTOR)
                print(
                    f"backlog of {many:9,}: {watch.rate(done):.0f} msg/s, "
                    f"{watch.cpu_per_1000(done):.3f} CPU s / 1,000, {tree.pss() / 1e6:.0f} MB",
                    flush=True,
                )


_CALLS_BY_SOURCE = """
SELECT source, count(*) * 60 / %(seconds)s FROM verification_v1.calls
 WHERE started_at > now() - make_interval(secs => %(seconds)s) GROUP BY source ORDER BY source
"""


def lanes(
    workers: int = 1,
    rounds: int = 2,
    seconds: int = 200,
    bulk: int = 100_000,
    calls_per_minute: int = 600,
) -> None:
    """Let live requests come once a second under a quota, without bulk and with much of it."""
    settings = {"PROVIDER_CALLS_PER_MINUTE": str(calls_per_minute)}
    with _arena(stand_in.instant) as (arena, worker, url):
        for with_live, with_bulk in [(True, False), (True, True)] * rounds + [(False, True)]:
            with arena.round(worker, url, settings) as one:
                arena.channel.queue_unbind(COLLECTOR, RESULTS, "#")
                arena.channel.queue_bind(COLLECTOR, RESULTS, "bench.*")
                waiting = range(seconds, seconds + with_bulk * bulk)
                one.publish(({**request_number(n), "source": "bulk"} for n in waiting), BULK)
                for _ in range(workers):
                    one.start()
                one.await_consumer()
                if with_live:
                    times = sorted(one.paced(seconds, rate=1.0))
                    found = [times[int(len(times) * part)] for part in (0.5, 0.99)]
                    print("live p50 {:.0f}, p99 {:.0f}, ".format(*found), end="")
                    print(f"max {times[-1]:.0f} ms; ", end="")
                else:
                    time.sleep(seconds)
                with psycopg.connect(one.database_url) as database:
                    last = {"seconds": seconds * 0.9}
                    told = database.execute(_CALLS_BY_SOURCE, last).fetchall()
                calls = ", ".join(f"{source} {number:.0f}" for source, number in told)
                cpu = one.cpu_seconds()
                print(f"calls a minute: {calls}; CPU {cpu:.1f} s", flush=True)
                one.end()
                arena.channel.queue_delete(BULK_REQUESTS)


def large(megabytes: int = 4, prefetch: int = 64) -> None:
    """Hold as many messages of so many bytes as the prefetch allows."""
    settings = {
        "MAX_MESSAGE_BYTES": str(8 * 1024 * 1024),
        "PREFETCH": str(prefetch),
        "CONCURRENCY": "8",
        "PORTRAIT_MAX_BYTES": str(6 * 1024 * 1024),
    }
    image = "/9j/" + "A" * (megabytes * 1024 * 1024 - 4)
    with (
        _arena(lambda: stand_in.delayed(1.0)) as (arena, worker, url),
        arena.round(worker, url, settings) as one,
    ):
        one.publish(_with_portrait(image, number) for number in range(prefetch * 2))
        tree, highest = one.start(), 0
        while arena.depth(COLLECTOR) < prefetch * 2:
            highest = max(highest, tree.pss())
            time.sleep(0.1)
        print(
            f"{prefetch} messages of {megabytes} MiB held: "
            f"{highest / 1e6:.0f} MB at most, {highest / 2**20 / megabytes:.1f} messages"
        )


def _with_portrait(image: str, number: int) -> dict[str, Any]:
    message = request_number(number)
    user = {**message["personalSpec"]["personalUser"], "imgBase64": image}
    return {**message, "personalSpec": {"checkType": 3, "personalUser": user}}


def processes() -> None:
    """Let 1, 2 and 4 workers share a queue and a database; the provider takes 50 ms."""
    messages = 8000
    with _arena(lambda: stand_in.delayed(0.05)) as (arena, worker, url):
        for number in (1, 2, 4):
            with arena.round(worker, url, {}) as one:
                one.publish_backlog(messages)
                trees = [one.start() for _ in range(number)]
                done = one.await_events(1, 30)
                watches = [Stopwatch(tree, done) for tree in trees]
                one.await_events(messages, 120)
                cpu = sum(watch.cpu_per_1000(messages) for watch in watches)
                rate = watches[0].rate(messages)
                print(f"{number} workers: {rate:.0f} msg/s, {cpu:.3f} CPU s / 1,000", flush=True)


def endurance(minutes: float = 60.0, rate: float = 100.0) -> None:
    """Work for long at a steady pace; memory and file handles must not grow."""
    with _arena(stand_in.instant) as (arena, worker, url), arena.round(worker, url, {}) as one:
        tree = one.start()
        published, started = 0, time.monotonic()
        while (elapsed := time.monotonic() - started) < minutes * 60:
            due = int(elapsed * rate) - published
            one.publish_backlog(due, published)
            published += due
            if int(elapsed) % 60 == 0:
                print(
                    f"{elapsed / 60:3.0f} min: {published:9,} published, "
                    f"{arena.depth(COLLECTOR):9,} events, {tree.pss() / 1e6:.1f} MB, "
                    f"{tree.open_files()} files, {tree.threads()} threads",
                    flush=True,
                )
            time.sleep(1)


def servers() -> None:
    """Count what a message costs the broker and the database, and its bytes on disk."""
    messages = 20_000
    with _arena(stand_in.instant) as (arena, worker, url), arena.round(worker, url, {}) as one:
        one.publish_backlog(messages)
        tree = one.start()
        done = one.await_events(1, 30)
        watch = Stopwatch(tree, done)
        before = {name: cpu_seconds(pid) for name, pid in arena.pids.items()}
        one.await_events(messages, 120)
        print(f"worker: {watch.cpu_per_1000(messages):.3f} CPU s / 1,000")
        for name, pid in arena.pids.items():
            cpu = (cpu_seconds(pid) - before[name]) / (messages - done) * 1000
            print(f"{name}: {cpu:.3f} CPU s / 1,000")
        (size,) = one.row(
            """SELECT pg_total_relation_size('verification.request')
                    + pg_total_relation_size('verification.provider_call')"""
        )
        print(f"on disk, indexes included: {size / messages:.0f} bytes a request")


def start() -> None:
    """Count the time from the start of the process until it consumes."""
    with _arena(stand_in.instant) as (arena, worker, url):
        times = []
        for _ in range(5):
            with arena.round(worker, url, {}) as one:
                began = time.monotonic()
                tree = one.start()
                one.await_consumer()
                times.append(time.monotonic() - began)
                cpu = cpu_seconds(tree.pid)
        print(f"start: {statistics.median(times):.2f} s, {cpu:.2f} CPU s")


_CALLS_OF = "SELECT count(*) FROM verification.provider_call WHERE worker LIKE %s"


def duel(
    other: Path,
    rounds: int = 10,
    seconds: int = 12,
    rate: float = 20.0,
    late: float = 0.0,
    concurrency: int = 32,
) -> None:
    """Let the workers of two checkouts share one queue: both have the same machine all the time.

    So their ratio is exact to some per cent where one after the other differ by a third. `rate` is
    messages a second, of each; `late` the seconds that the provider takes.
    """
    sides = {"ours": CHECKOUT, "the other": other.resolve()}
    found: dict[str, list[float]] = {"CPU": [], "PSS": []}
    with _arena(lambda: stand_in.delayed(late)) as (arena, worker, url):
        for number in range(rounds):
            settings = {"CONCURRENCY": str(concurrency)}
            with arena.round(worker, url, settings) as one:
                order = list(sides)[:: -1 if number % 2 else 1]
                trees = {name: one.start(sides[name]) for name in order}
                one.await_consumer()
                time.sleep(2)  # whatever they do once
                before = {name: cpu_seconds(tree.pid) for name, tree in trees.items()}
                one.paced(int(rate * seconds) * 2, rate * 2)
                told = {}
                for name, tree in trees.items():
                    cpu = cpu_seconds(tree.pid) - before[name]
                    (calls,) = one.row(_CALLS_OF, f"%-{tree.pid}-%")
                    told[name] = (cpu / calls * 1000, tree.pss() / 1e6)
            for each, ours, theirs in zip(found, *(told[name] for name in sides), strict=True):
                found[each].append(ours / theirs)
            words = [f"{name} {cpu:.2f} ms, {pss:.1f} MB" for name, (cpu, pss) in told.items()]
            print(f"CPU a message, PSS: {'; '.join(words)}", flush=True)
    for each, ratios in found.items():
        middle = statistics.median(ratios)
        print(f"{each}, ours / the other: {middle:.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    application = typer.Typer(help=__doc__.splitlines()[0], add_completion=False)
    for measure in (rows, wal, backlog, lanes, large, processes, endurance, servers, start, duel):
        application.command()(measure)
    application()
