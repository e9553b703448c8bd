"""What a message costs, in counts that do not depend on how busy the machine is.

A bound is about twice what was counted when it was set: a commit, a send or a wake-up more for each
message goes past it, a busy machine does not.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from local_ports import free_ports
from tests.bench.soak_load import id_card
from tests.chaos.database import administrator
from tests.chaos.proxy import TO_SERVER, Proxy
from tests.e2e.harness import Process, Stack, request, until

_SLEEPS = re.compile(r"^voluntary_ctxt_switches:\s+([0-9]+)", re.MULTILINE)
MESSAGES = 1000
# Per 1,000 messages of a backlog, with 16 calls of 10 ms in flight.
MOST = {
    "commits": 400,
    "sends to the database": 500,
    "sends to the broker": 600,
    "sleeps of a thread": 20_000,
    # Whole pages left out: the tests' servers write none. 2.6 million were counted.
    "bytes of WAL": 5_000_000,
    # Once for each of the few statements that a message takes part in, old versions included.
    "requests read": 15_000,
    "calls read": 15_000,
}


@pytest.mark.usefixtures("own_database_url")  # its statistics begin at nothing
def test_a_backlog_costs_no_more_than_it_did(stack: Stack) -> None:
    """A session's plans stay as they were made: here for empty tables, which is the worst time."""
    stack.provider.play(latency=0.01)
    stack.publish_many(request(f"cost-{each}", id_card(each)) for each in range(MESSAGES))
    with Proxy(stack.amqp_url) as to_broker, Proxy(stack.database_url) as to_database:
        through = {"AMQP_URL": to_broker.url, "DATABASE_URL": to_database.url}
        worker = stack.start_worker(**through, CONCURRENCY="16")
        written, began = stack.rows(_WAL)[0]["n"], time.monotonic()
        until(lambda: stack.depth("collector") == MESSAGES)
        counted = {
            "sends to the database": to_database.pieces[TO_SERVER],
            "sends to the broker": to_broker.pieces[TO_SERVER],
            "sleeps of a thread": _sleeps(worker),
            "bytes of WAL": int(stack.rows(_WAL)[0]["n"] - written),
        }
        assert worker.stop() == 0
    # A session reports what it did before it disappears from the list.
    until(lambda: not stack.rows(_OTHERS))
    counted |= {
        "commits": stack.rows(_COMMITS)[0]["n"],
        "requests read": stack.rows(_READ, "request")[0]["n"],
        "calls read": stack.rows(_READ, "provider_call")[0]["n"],
    }
    _check(counted, MOST, time.monotonic() - began)


LONE = 50
# Of one message when no other is there; the start's commits and those of chores are shared out.
MOST_OF_ONE = {"commits": 5, "sleeps of a thread": 30, "bytes of WAL": 5_500}


@pytest.mark.usefixtures("own_database_url")
def test_a_lone_message_costs_no_more_than_it_did(stack: Stack) -> None:
    """Two commits are promised: the intent before the call, and the result before the event."""
    worker, began = stack.start_worker(CONCURRENCY="4"), time.monotonic()
    written, slept = stack.rows(_WAL)[0]["n"], _sleeps(worker)
    for number in range(LONE):
        stack.publish(request(f"lone-{number}", id_card(number)))
        until(lambda wanted=number + 1: stack.depth("collector") == wanted)  # type: ignore[misc]
    counted = {
        "sleeps of a thread": _sleeps(worker) - slept,
        "bytes of WAL": int(stack.rows(_WAL)[0]["n"] - written),
    }
    assert worker.stop() == 0
    until(lambda: not stack.rows(_OTHERS))
    counted["commits"] = stack.rows(_COMMITS)[0]["n"]
    most = {name: count * LONE for name, count in MOST_OF_ONE.items()}
    _check(counted, most, time.monotonic() - began)


def _check(counted: Mapping[str, float], most: Mapping[str, float], seconds: float) -> None:
    """Compare counts with the most that may be; chores have theirs for each second."""
    print(counted)
    allowed = {name: count + seconds * CHORES.get(name, 0) for name, count in most.items()}
    too_dear = {name: count for name, count in counted.items() if count > allowed[name]}
    assert not too_dear, f"of {counted}"


# In each second: a beat, a look for a pause and one at the records.
CHORES = {"commits": 3, "sends to the database": 9, "sleeps of a thread": 18}

# What only other commands, encrypted messages, certificates or spans need.
_OF_OTHERS = {"rich", "typer", "joserfc", "cryptography", "aiohttp", "alembic", "opentelemetry"}
_COMMAND = {"worker.cli", "worker.cli.run", "worker.cli.mistakes"}
_LOADED = re.compile(r"import time: +[0-9]+ \| +[0-9]+ \| +(\S+)")
MOST_MODULES = 950  # 820 with Python 3.11


def test_a_worker_loads_nothing_that_only_others_need(stack: Stack) -> None:
    """Modules are most of its memory: 57 of 66 MB."""
    stack.forks = False
    worker = stack.start_worker(PYTHONPROFILEIMPORTTIME="1")
    stack.publish(request("loaded", id_card(1)))
    until(lambda: stack.depth("collector") == 1)
    assert worker.stop() == 0
    loaded = {found[1] for line in worker.lines if (found := _LOADED.match(line))}
    assert "worker.bootstrap" in loaded
    whole = {each.partition(".")[0] for each in loaded if "." in each}  # alone: looked for in vain
    assert whole & _OF_OTHERS == set()
    assert {each for each in loaded if each.startswith("worker.cli")} == _COMMAND
    assert len(loaded) <= MOST_MODULES


# 9 were counted; 28 with two polls more.
MOST_SLEEPS_A_SECOND = CHORES["sleeps of a thread"]


def test_no_thread_of_an_idle_worker_wakes_for_nothing(stack: Stack) -> None:
    """Counted from one report to another: a slow machine wakes less often in a second."""
    worker = stack.start_worker(HTTP_PORT=str(free_ports(1)[0]))
    with psycopg.connect(stack.database_url, autocommit=True) as owner:

        def reported(after: datetime) -> datetime | None:
            row = owner.execute(_REPORTED, [after]).fetchone()
            return row[0] if row else None

        first = until(lambda: reported(datetime.min.replace(tzinfo=UTC)))
        began, before = time.monotonic(), _sleeps(worker)
        until(lambda: reported(first + timedelta(seconds=5)))
        slept = _sleeps(worker) - before
    assert slept <= MOST_SLEEPS_A_SECOND * (time.monotonic() - began)


_REPORTED = "SELECT seen_at FROM verification.worker WHERE seen_at > %s"
_OTHERS = """SELECT 1 FROM pg_stat_activity
              WHERE datname = current_database() AND pid <> pg_backend_pid()"""
_WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS n"
_COMMITS = "SELECT xact_commit AS n FROM pg_stat_database WHERE datname = current_database()"
# The rows that sessions have read of a table, and what they read of its indexes.
_READ = """SELECT t.seq_tup_read
                + (SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes AS i
                    WHERE i.relid = t.relid) AS n
             FROM pg_stat_user_tables AS t WHERE t.relname = %s"""


def _sleeps(worker: Process) -> int:
    """Count how often a thread of the worker has gone to sleep."""
    found = 0
    for status in Path(f"/proc/{worker.popen.pid}/task").glob("*/status"):
        counts = _SLEEPS.search(status.read_text())
        assert counts is not None
        found += int(counts[1])
    return found


MIB = 1_048_576
PREFETCH = 64
# Memory is bounded by what the worker holds: PREFETCH messages of the largest size, once or twice.
# Measured: 78 MB without messages, and with 64 of 1 MiB each 1.0 times their size while they wait,
# 1.5 times while all of them are published again for a retry.
FACTOR = 3
RECOVERS = "119999194912310363"
"""The sandbox: 503 once, so that the message waits in a retry queue, and then a match."""


def peak(worker: Process) -> int:
    """Return the most bytes that the worker ever had in memory."""
    status = Path(f"/proc/{worker.popen.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def largest(name: str) -> bytes:
    """Return a request that is as long as a message may be: JSON may end in spaces."""
    return json.dumps(request(name, RECOVERS)).encode().ljust(MIB)


@pytest.mark.timeout(600)
def test_when_the_largest_messages_wait_and_are_retried_then_memory_stays_bounded(
    stack: Stack,
) -> None:
    stack.forks = False  # what its parent had loaded would count as its own
    idle = stack.start_worker(PREFETCH=str(PREFETCH))
    empty = peak(idle)
    idle.stop()
    names = [f"large-{number}" for number in range(2 * PREFETCH)]
    for name in names:
        stack.publish(largest(name))
    with administrator(stack) as database, database.transaction():
        database.execute("LOCK TABLE verification.request IN EXCLUSIVE MODE")
        worker = stack.start_worker(PREFETCH=str(PREFETCH))
        until(lambda: peak(worker) > empty + PREFETCH * MIB // 2)  # they are in its memory
        until(lambda: worker.said("database.unavailable"))
        assert peak(worker) < empty + FACTOR * PREFETCH * MIB
        worker.kill()
    worker = stack.start_worker(PREFETCH=str(PREFETCH))
    # A claim that waited behind the lock may be committed: then its lease must lapse first.
    until(lambda: stack.count() == len(names), 280)
    assert peak(worker) < empty + FACTOR * PREFETCH * MIB
    assert {*stack.outcomes().values()} == {"match"}
