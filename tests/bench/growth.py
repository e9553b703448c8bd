"""What a message costs when there is more of everything: rows, backlog, bytes, processes, time.

    .venv/bin/python -m tests.bench.growth rows --millions 1
    .venv/bin/python -m tests.bench.growth wal --rows 700000 --batch 32
    .venv/bin/python -m tests.bench.growth backlog --messages 1000000
    .venv/bin/python -m tests.bench.growth lanes --workers 2
    .venv/bin/python -m tests.bench.growth large
    .venv/bin/python -m tests.bench.growth processes
    .venv/bin/python -m tests.bench.growth endurance --minutes 60
    .venv/bin/python -m tests.bench.growth servers
    .venv/bin/python -m tests.bench.growth start
    .venv/bin/python -m tests.bench.growth duel ../other-checkout

Each starts its own servers and prints its figures; compare within one run. `deploy/CAPACITY.md`
computes with them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg

from local_database import Database
from local_stack import Servers
from tests.bench import contestants, stand_in
from tests.bench.contest import COLLECTOR, Arena, request_number
from tests.bench.process_tree import Stopwatch, server_cpu_seconds
from tests.conftest import migrate
from tests.e2e.harness import BULK, BULK_REQUESTS, CHECKOUT, RESULTS
from worker.core.claims import ClaimRequest, Entry, Envelope, Granted
from worker.core.digests import Digest
from worker.core.masking import Masked
from worker.core.outcome import AuthInfo, CallClass, CallReport, Charged, Complete, Outcome, Result
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


def ledger_times(url: str, prefix: str, size: int, batches: int) -> tuple[float, float]:
    """Return the median milliseconds of a claim and of a record of `size` requests."""
    engine = open_engine(url, "bench", by_keys=True)
    ledger = PostgresLedger(engine, LedgerConfig("bench", Mode.SANDBOX, 60.0, 1))
    claims, records = [], []
    try:
        for batch in range(batches):
            asked = [_asked(f"{prefix}-{batch}-{number}") for number in range(size)]
            started = time.monotonic()
            granted = ledger.claim(asked, str(batch))
            claims.append(time.monotonic() - started)
            entries = [_entry(one, each) for one, each in zip(asked, granted, strict=True)]
            started = time.monotonic()
            ledger.record(entries, [])
            records.append(time.monotonic() - started)
    finally:
        engine.dispose()
    return statistics.median(claims) * 1000, statistics.median(records) * 1000


def _asked(request_id: str) -> ClaimRequest:
    digest = sha256(request_id.encode()).digest()
    return ClaimRequest(
        request_id,
        (Digest("bench", digest, digest),),
        "bench",
        2,
        wants_call=True,
        masked=Masked("张*", "1****************X", None, None, None),
        envelope=Envelope(None, None, None),
        expires_at=None,
        context=None,
    )


def _entry(asked: ClaimRequest, granted: object) -> Entry:
    assert isinstance(granted, Granted)
    info = AuthInfo(True, False, "ok", "", '{"chargeFlag":"1"}')
    named = str(uuid.uuid4())
    report = CallReport(
        CallClass.ANSWERED, Charged.YES, Outcome.MATCH, info, 200, None, named, None, 1, 0.3
    )
    return Entry(asked, granted, report, Complete(Result(Outcome.MATCH, Charged.YES, info, named)))


# As anybody sets it who keeps millions of rows: the indexes in memory, a checkpoint now and then.
_LARGE = {"shared_buffers": "4GB", "max_wal_size": "8GB", "checkpoint_timeout": "15min"}


def rows(given: argparse.Namespace) -> None:
    """Claim and record with more and more rows in the tables."""
    with Database(_LARGE) as database:
        url = database.create_database("rows")
        migrate(url)
        filled = 1
        for millions in (0.0, *given.millions):
            wanted = int(millions * 1_000_000) + 1
            fill(url, filled, wanted)
            filled = wanted
            for size in (1, 32):
                ledger_times(url, f"warm-{millions}-{size}", size, 300)
                claim, record = ledger_times(url, f"new-{millions}-{size}", size, 200)
                print(
                    f"{millions:4g} million rows, batches of {size:2}: "
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


def wal(given: argparse.Namespace) -> None:
    """Count the WAL of requests with random ids, and of the vacuum after them.

    Records and whole pages apart: after a checkpoint each page is written whole once.
    """
    with Database(_NO_CHECKPOINT) as database:
        url = database.create_database("wal")
        migrate(url)
        fill(url, 1, given.rows + 1)
        with psycopg.connect(url, autocommit=True) as session:
            session.execute("CREATE EXTENSION pg_walinspect")
            before = _wal_position(session)
            _work(url, given.requests, given.batch)
            _print_wal(session, "requests", before, given)
            session.execute("CHECKPOINT")
            before = _wal_position(session)
            session.execute("VACUUM verification.request, verification.provider_call")
            _print_wal(session, "their vacuum, after a checkpoint", before, given)
            for row in session.execute(_UPDATES):
                print("{}: {} updates, {} HOT; {} bytes of heap, {} of indexes".format(*row))


_UPDATES = """
SELECT relname, n_tup_upd, n_tup_hot_upd, pg_relation_size(relid), pg_indexes_size(relid)
  FROM pg_stat_user_tables WHERE n_tup_upd > 0 ORDER BY 1
"""


def _work(url: str, requests: int, size: int) -> None:
    """Claim, record and announce requests, so many at once."""
    engine = open_engine(url, "bench", by_keys=True)
    ledger = PostgresLedger(
        engine, LedgerConfig("worker-5d9c7b6f4-x2x7k-7-a1b2c3", Mode.LIVE, 60.0, 1)
    )
    announced: list[str] = []
    for batch in range(requests // size):
        # Among those that are there, whose digests are as random.
        asked = [_asked(f"old-{uuid.uuid4().hex}") for _ in range(size)]
        granted = ledger.claim(asked, str(batch))
        ledger.record(
            [_entry(one, each) for one, each in zip(asked, granted, strict=True)], announced
        )
        announced = [each.request_id for each in asked]
    ledger.record([], announced)
    engine.dispose()


def _wal_position(session: psycopg.Connection) -> Any:
    (position,) = session.execute("SELECT pg_current_wal_insert_lsn()").fetchone() or ()
    return position


def _print_wal(session: psycopg.Connection, of: str, start: Any, given: argparse.Namespace) -> None:
    span = {"start": start, "end": _wal_position(session)}
    session.execute("SELECT pg_switch_wal()")  # all of it is on disk
    records, pages = session.execute(_WAL, span).fetchone() or (0, 0)
    print(f"{of}: {records / given.requests:.0f} bytes a request in records, ", end="")
    print(f"{pages / given.requests:.0f} in whole pages")
    for name, count, size, whole in session.execute(_WAL_BY_RECORD, span):
        parts = [each / given.requests for each in (count, size, whole)]
        print("  {:28} {:5.2f} records, {:5.0f} bytes, {:6.0f} in whole pages".format(name, *parts))


@contextmanager
def _arena(provider: Callable[[], Any]) -> Iterator[tuple[Arena, Any, str]]:
    with tempfile.TemporaryDirectory() as directory, Servers({}) as servers, provider() as url:
        yield Arena(servers, Path(directory) / "worker.log"), contestants.ours(servers, "ours"), url


def backlog(given: argparse.Namespace) -> None:
    """Work 20 s on a short and on a long backlog."""
    with _arena(stand_in.instant) as (arena, worker, url):
        for messages in (40_000, given.messages):
            with arena.round(worker, url, {}) as one:
                for start in range(0, messages, 100_000):
                    one.publish_backlog(min(100_000, messages - start), start)
                tree = one.start()
                done = one.await_events(1, 60)
                watch = Stopwatch(tree, done)
                time.sleep(20)
                done = arena.depth(COLLECTOR)
                print(
                    f"backlog of {messages:9,}: {watch.rate(done):.0f} msg/s, "
                    f"{watch.cpu_per_1000(done):.3f} CPU s / 1,000, {tree.pss() / 1e6:.0f} MB",
                    flush=True,
                )


_CALLS_BY_SOURCE = """
SELECT source, count(*) * 60 / %(seconds)s FROM verification_v1.calls
 WHERE started_at > now() - make_interval(secs => %(seconds)s) GROUP BY source ORDER BY source
"""


def lanes(given: argparse.Namespace) -> None:
    """Let live requests come once a second under a quota, without bulk and with much of it."""
    settings = {"PROVIDER_CALLS_PER_MINUTE": str(given.calls_per_minute)}
    rounds = [(True, False), (True, True)] * given.rounds + [(False, True)]
    with _arena(stand_in.instant) as (arena, worker, url):
        for with_live, with_bulk in rounds:
            with arena.round(worker, url, settings) as one:
                arena.channel.queue_unbind(COLLECTOR, RESULTS, "#")
                arena.channel.queue_bind(COLLECTOR, RESULTS, "bench.*")
                waiting = range(given.seconds, given.seconds + with_bulk * given.bulk)
                one.publish(({**request_number(n), "source": "bulk"} for n in waiting), BULK)
                for _ in range(given.workers - with_live):
                    one.start()
                if with_live:
                    times = sorted(one.added_latency(given.seconds, rate=1.0))
                    found = [times[int(len(times) * part)] for part in (0.5, 0.99)]
                    print("live p50 {:.0f}, p99 {:.0f}, ".format(*found), end="")
                    print(f"max {times[-1]:.0f} ms; ", end="")
                else:
                    one.await_consumer()
                    time.sleep(given.seconds)
                seconds = given.seconds * 0.9
                with psycopg.connect(one.database_url) as database:
                    told = database.execute(_CALLS_BY_SOURCE, {"seconds": seconds}).fetchall()
                calls = ", ".join(f"{source} {number:.0f}" for source, number in told)
                cpu = one.cpu_seconds()
                print(f"calls a minute: {calls}; CPU {cpu:.1f} s", flush=True)
                one.end()
                arena.channel.queue_delete(BULK_REQUESTS)


def large(given: argparse.Namespace) -> None:
    """Hold as many messages of so many bytes as the prefetch allows."""
    settings = {
        "MAX_MESSAGE_BYTES": str(8 * 1024 * 1024),
        "PREFETCH": str(given.prefetch),
        "CONCURRENCY": "8",
        "PORTRAIT_MAX_BYTES": str(6 * 1024 * 1024),
    }
    image = "/9j/" + "A" * (given.megabytes * 1024 * 1024 - 4)
    with (
        _arena(lambda: stand_in.delayed(1.0)) as (arena, worker, url),
        arena.round(worker, url, settings) as one,
    ):
        one.publish(_with_portrait(image, number) for number in range(given.prefetch * 2))
        tree, highest = one.start(), 0
        while arena.depth(COLLECTOR) < given.prefetch * 2:
            highest = max(highest, tree.pss())
            time.sleep(0.1)
        print(
            f"{given.prefetch} messages of {given.megabytes} MiB held: "
            f"{highest / 1e6:.0f} MB at most, {highest / 2**20 / given.megabytes:.1f} messages"
        )


def _with_portrait(image: str, number: int) -> dict[str, Any]:
    message = request_number(number)
    user = {**message["personalSpec"]["personalUser"], "imgBase64": image}
    return {**message, "personalSpec": {"checkType": 3, "personalUser": user}}


def processes(_given: argparse.Namespace) -> None:
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


def endurance(given: argparse.Namespace) -> None:
    """Work for long at a steady pace; memory and file handles must not grow."""
    with _arena(stand_in.instant) as (arena, worker, url), arena.round(worker, url, {}) as one:
        tree = one.start()
        published, started = 0, time.monotonic()
        while (elapsed := time.monotonic() - started) < given.minutes * 60:
            due = int(elapsed * given.rate) - published
            one.publish_backlog(due, published)
            published += due
            if int(elapsed) % 60 == 0:
                print(
                    f"{elapsed / 60:3.0f} min: {published:9,} published, "
                    f"{arena.depth('bench.collector'):9,} events, {tree.pss() / 1e6:.1f} MB, "
                    f"{tree.open_files()} files, {tree.threads()} threads",
                    flush=True,
                )
            time.sleep(1)


def servers(_given: argparse.Namespace) -> None:
    """Count what a message costs the broker and the database, and its bytes on disk."""
    messages = 20_000
    with _arena(stand_in.instant) as (arena, worker, url), arena.round(worker, url, {}) as one:
        one.publish_backlog(messages)
        leaders = {"broker": arena.broker_pid, "database": arena.database_pid}
        tree = one.start()
        done = one.await_events(1, 30)
        watch = Stopwatch(tree, done)
        before = {name: server_cpu_seconds(pid) for name, pid in leaders.items()}
        one.await_events(messages, 120)
        print(f"worker: {watch.cpu_per_1000(messages):.3f} CPU s / 1,000")
        for name, pid in leaders.items():
            cpu = (server_cpu_seconds(pid) - before[name]) / (messages - done) * 1000
            print(f"{name}: {cpu:.3f} CPU s / 1,000")
        size = """SELECT pg_total_relation_size('verification.request')
                       + pg_total_relation_size('verification.provider_call')"""
        with psycopg.connect(one.database_url) as database:
            row = database.execute(size).fetchone()
        assert row is not None
        print(f"on disk, indexes included: {row[0] / messages:.0f} bytes a request")


def start(_given: argparse.Namespace) -> None:
    """Count the time from the start of the process until it consumes."""
    with _arena(stand_in.instant) as (arena, worker, url):
        times = []
        for _ in range(5):
            with arena.round(worker, url, {}) as one:
                began = time.monotonic()
                tree = one.start()
                one.await_consumer()
                times.append(time.monotonic() - began)
                cpu = tree.cpu_seconds()
        print(f"start: {statistics.median(times):.2f} s, {cpu:.2f} CPU s")


_CALLS_OF = "SELECT count(*) FROM verification.provider_call WHERE worker LIKE %s"


def duel(given: argparse.Namespace) -> None:
    """Let the workers of two checkouts share one queue: both have the same machine all the time.

    So their ratio is exact to some per cent where one after the other differ by a third.
    """
    sides = {"ours": CHECKOUT, "the other": given.other.resolve()}
    found: dict[str, list[float]] = {"CPU": [], "PSS": []}
    with _arena(lambda: stand_in.delayed(given.late)) as (arena, worker, url):
        for number in range(given.rounds):
            settings = {"CONCURRENCY": str(given.concurrency)}
            with arena.round(worker, url, settings) as one:
                order = list(sides)[:: -1 if number % 2 else 1]
                trees = {name: one.start(sides[name]) for name in order}
                one.await_consumer()
                time.sleep(2)  # whatever they do once
                before = {name: tree.cpu_seconds() for name, tree in trees.items()}
                one.paced(int(given.rate * given.seconds) * 2, given.rate * 2)
                told = {}
                with psycopg.connect(one.database_url) as database:
                    for name, tree in trees.items():
                        cpu = tree.cpu_seconds() - before[name]
                        row = database.execute(_CALLS_OF, [f"%-{tree.pid}-%"]).fetchone()
                        assert row is not None
                        told[name] = (cpu / row[0] * 1000, tree.pss() / 1e6)
            for each, ours, other in zip(found, *(told[name] for name in sides), strict=True):
                found[each].append(ours / other)
            words = [f"{name} {cpu:.2f} ms, {pss:.1f} MB" for name, (cpu, pss) in told.items()]
            print(f"CPU a message, PSS: {'; '.join(words)}", flush=True)
    for each, ratios in found.items():
        middle = statistics.median(ratios)
        print(f"{each}, ours / the other: {middle:.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(required=True)
    kind = kinds.add_parser("rows", help="the tables grow")
    kind.add_argument("--millions", type=float, nargs="+", default=[1.0, 10.0])
    kind.set_defaults(run=rows)
    kind = kinds.add_parser("wal", help="what a request writes ahead")
    kind.add_argument("--rows", type=int, default=700_000, help="in the tables before")
    kind.add_argument("--requests", type=int, default=20_000)
    kind.add_argument("--batch", type=int, default=32)
    kind.set_defaults(run=wal)
    kind = kinds.add_parser("backlog", help="the queue grows")
    kind.add_argument("--messages", type=int, default=1_000_000)
    kind.set_defaults(run=backlog)
    kind = kinds.add_parser("lanes", help="bulk waits behind live")
    kind.add_argument("--workers", type=int, default=1)
    kind.add_argument("--rounds", type=int, default=2)
    kind.add_argument("--seconds", type=int, default=200)
    kind.add_argument("--bulk", type=int, default=100_000)
    kind.add_argument("--calls-per-minute", type=int, default=600)
    kind.set_defaults(run=lanes)
    kind = kinds.add_parser("large", help="the messages grow")
    kind.add_argument("--megabytes", type=int, default=4)
    kind.add_argument("--prefetch", type=int, default=64)
    kind.set_defaults(run=large)
    kinds.add_parser("processes", help="1, 2 and 4 workers").set_defaults(run=processes)
    kind = kinds.add_parser("endurance", help="time goes by")
    kind.add_argument("--minutes", type=float, default=60.0)
    kind.add_argument("--rate", type=float, default=100.0)
    kind.set_defaults(run=endurance)
    kinds.add_parser("servers", help="broker and database").set_defaults(run=servers)
    kinds.add_parser("start", help="from exec to the first delivery").set_defaults(run=start)
    kind = kinds.add_parser("duel", help="this checkout's worker and another's, side by side")
    kind.add_argument("other", type=Path)
    kind.add_argument("--rounds", type=int, default=10)
    kind.add_argument("--seconds", type=int, default=12)
    kind.add_argument("--rate", type=float, default=20.0, help="messages a second, of each")
    kind.add_argument("--late", type=float, default=0.0, help="seconds that the provider takes")
    kind.add_argument("--concurrency", type=int, default=32)
    kind.set_defaults(run=duel)
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
