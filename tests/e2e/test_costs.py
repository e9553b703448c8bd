"""What a message costs, in counts that do not depend on the machine's mood.

A bound is about twice what was counted when it was set: a commit, a send or a wake-up more for each
message goes past it, a busy machine does not.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.bench.soak_load import id_card
from tests.chaos.proxy import TO_SERVER, Proxy
from tests.e2e.harness import request, until

if TYPE_CHECKING:
    from tests.e2e.harness import Process, Stack

_SLEEPS = re.compile(r"^voluntary_ctxt_switches:\s+([0-9]+)", re.MULTILINE)
MESSAGES = 1000
# Per 1,000 messages of a backlog, with 16 calls of 10 ms in flight.
MOST = {
    "commits": 400,
    "sends to the database": 500,
    "sends to the broker": 600,
    "sleeps of a thread": 25_000,
}


def test_a_backlog_costs_no_more_than_it_did(stack: Stack) -> None:
    stack.provider.play(latency=0.01)
    stack.publish_many(request(f"cost-{each}", id_card(each)) for each in range(MESSAGES))
    with _proxy(stack.amqp_url) as to_broker, _proxy(stack.database_url) as to_database:
        worker = stack.start_worker(
            AMQP_URL=to_broker.through(stack.amqp_url),
            DATABASE_URL=to_database.through(stack.database_url),
            CONCURRENCY="16",
        )
        until(lambda: stack.depth("collector") == MESSAGES, 60)
        counted = {
            "sends to the database": to_database.pieces[TO_SERVER],
            "sends to the broker": to_broker.pieces[TO_SERVER],
            "sleeps of a thread": _sleeps(worker),
            "commits": _commits(stack),
        }
        assert worker.stop() == 0
    print(counted)
    too_dear = {name: count for name, count in counted.items() if count > MOST[name]}
    assert not too_dear, f"of {counted}"


def test_no_message_makes_the_database_look_through_its_tables(stack: Stack) -> None:
    """A session's plans stay as they were made: here for empty tables, which is the worst time."""
    stack.publish_many(request(f"cost-{each}", id_card(each)) for each in range(MESSAGES))
    worker = stack.start_worker()
    until(lambda: stack.depth("collector") == MESSAGES)
    assert worker.stop() == 0  # with its sessions, which report what they did when they end
    read = {table: _tuples_read(stack, table) for table in ("request", "provider_call")}
    print(read)
    # Once for each of the few statements that a message takes part in, old versions included.
    too_many = {table: count for table, count in read.items() if count > 15 * MESSAGES}
    assert not too_many, f"of {read}"


def _tuples_read(stack: Stack, table: str) -> int:
    """Count the rows that sessions have read of a table, and what they read of its indexes."""
    query = """SELECT t.seq_tup_read
                    + (SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes AS i
                        WHERE i.relid = t.relid) AS n
                 FROM pg_stat_user_tables AS t WHERE t.relname = %s"""
    return int(stack.rows(query, table)[0]["n"])


def _proxy(url: str) -> Proxy:
    parts = urlsplit(url)
    return Proxy(str(parts.hostname), int(parts.port or 0))


def _commits(stack: Stack) -> int:
    """Count the database's commits; a session reports its own once a second."""
    time.sleep(1.5)
    query = "SELECT xact_commit AS n FROM pg_stat_database WHERE datname = current_database()"
    return int(stack.rows(query)[0]["n"])


def _sleeps(worker: Process) -> int:
    """Count how often a thread of the worker has gone to sleep."""
    found = 0
    for status in Path(f"/proc/{worker.popen.pid}/task").glob("*/status"):
        counts = _SLEEPS.search(status.read_text())
        assert counts is not None
        found += int(counts[1])
    return found
