"""The database, or the network to it, fails in any way: all is counted."""

from __future__ import annotations

import time
from typing import LiteralString
from urllib.parse import urlsplit

import pytest

from local_database import Database
from tests.chaos.database import (
    READY,
    administrator,
    is_back,
    is_left,
    is_missed,
    misses_database,
    records_wait,
    refusing,
    terminate_all,
    waits_for_locks,
)
from tests.chaos.invariants import finish
from tests.chaos.load import PACE, Load, times_said, under_load
from tests.chaos.proxy import TO_CLIENT, Proxy, ProxyMaker
from tests.conftest import migrate
from tests.e2e.harness import REQUESTS, Stack, free_port, request, until

# A claim that could not be recorded lapses after 2 x (1 + 0.5) + 1 = 4 s.
SHORT = {"CALL_DEADLINE": "1", "CONNECT_TIMEOUT": "0.5", "LEASE_MARGIN": "1"}


def test_when_the_database_restarts_and_is_killed_then_all_is_counted(
    stack: Stack, own_database: Database
) -> None:
    load = Load(stack)
    worker = stack.start_worker(**PACE)
    for end in (own_database.stop, own_database.kill):
        load.under_way(50)
        missed = times_said(worker, "database.unavailable")
        end()
        is_missed(worker, missed + 1)
        own_database.start()
        is_back(worker)
    load.all_is_counted(worker)


def test_when_rows_or_the_table_are_locked_then_records_wait_and_are_tried_again(
    stack: Stack,
) -> None:
    load, worker = under_load(stack)
    with administrator(stack) as witness, administrator(stack) as database:
        with database.transaction():
            rows = "SELECT request_id FROM verification.request WHERE state = 'working' FOR UPDATE"
            until(lambda: database.execute(rows).fetchall())
            until(lambda: waits_for_locks(witness))
        load.under_way(50)
        assert not worker.said("database.unavailable")
        with database.transaction():
            database.execute("LOCK TABLE verification.request IN EXCLUSIVE MODE")
            first = until(lambda: waits_for_locks(witness))
            # One that is gone has waited for longer than the limit.
            until(lambda: not first & waits_for_locks(witness))
    load.all_is_counted(worker)


FAILURES: dict[LiteralString, str] = {
    "53100": "the server's disk is full (SQLSTATE 53100)",
    "53200": "the server is out of memory",
    "57P03": "the server is starting or shutting down",
    "57014": "a statement took too long",
    "25006": "the server is read-only",
    "40001": "another transaction changed the same rows",
    "42501": "this user lacks a right",
    "58030": "SQLSTATE 58030",
    "XX000": "SQLSTATE XX000",
}


def test_when_the_database_fails_for_a_while_then_messages_wait(stack: Stack) -> None:
    load = Load(stack)
    worker = stack.start_worker(**PACE, HTTP_PORT=free_port())
    for sqlstate, words in FAILURES.items():
        load.under_way(20)
        missed = times_said(worker, "database.unavailable")
        with refusing(stack, f"'{sqlstate}'", on="INSERT OR UPDATE"):
            is_missed(worker, missed + 2)
            rows = stack.count()
            until(lambda words=words: words in str(misses_database(worker)))  # type: ignore[misc]
            assert worker.said(words)
        is_back(worker)
        assert stack.count() >= rows
    load.all_is_counted(worker)


POISON: LiteralString = "NEW.request_id LIKE 'poison-%'"
SOUR: LiteralString = "NEW.request_id LIKE 'sour-%' AND NEW.auth_message IS NOT NULL"
ITS_SQLSTATE: LiteralString = "right(NEW.request_id, 5)"


def test_when_the_database_refuses_a_request_or_an_answer_then_it_alone_is_kept(
    stack: Stack,
) -> None:
    """What cannot even be claimed is not paid; of what was called the charge is known."""
    poison = [f"poison-{sqlstate}" for sqlstate in ("22021", "22P02", "23502", "23514")]
    sour = ["sour-22021", "sour-23514"]
    condition: LiteralString = f"TG_OP = 'INSERT' AND {POISON} OR TG_OP = 'UPDATE' AND {SOUR}"
    with refusing(stack, ITS_SQLSTATE, when=condition, on="INSERT OR UPDATE"):
        for each in (*poison, *sour):
            stack.publish(request(each), reply_to="somebody")
        load = Load(stack, 120)
        worker = stack.start_worker(**PACE)
        events = len(load.ids) + len(sour) + len(poison)
        accounts = finish(stack, [*load.ids, *sour], worker, events=events)
    assert accounts.count("match") == len(load.ids)
    for each in sour:
        row = accounts.results[each]
        assert (row["outcome"], row["error_kind"]) == ("failed", "unstorable")
        assert (row["charged"], row["calls"]) == ("yes", 1)
    assert accounts.charges["charges"] == accounts.charges["calls"] == len(load.ids) + len(sour)
    assert sorted(accounts.dead) == [("unstorable", each) for each in (*poison, *sour)]
    assert [answer["outcome"] for answer in accounts.answers] == ["rejected"] * len(poison)


def test_when_the_database_refuses_a_record_in_any_form_then_the_others_are_served(
    stack: Stack,
) -> None:
    with refusing(stack, ITS_SQLSTATE, when=POISON, on="UPDATE"):
        stack.publish(request("poison-23514"))
        load = Load(stack, 120)
        worker = stack.start_worker(**PACE, **SHORT)
        until(lambda: stack.count() == len(load.ids) or worker.popen.poll() is not None)
        assert worker.popen.poll() is None
    finish(stack, [*load.ids, "poison-23514"], worker)


def test_when_connections_are_ended_again_and_again_then_all_is_counted(stack: Stack) -> None:
    load = Load(stack)
    worker = stack.start_worker(**PACE)
    with administrator(stack) as database:
        for _ in range(8):
            load.under_way(50)
            assert until(lambda: terminate_all(database))
    load.all_is_counted(worker)


@pytest.mark.usefixtures("own_database_url")
def test_when_the_schema_is_missing_then_it_says_what_to_do_and_waits(stack: Stack) -> None:
    with administrator(stack) as database:
        database.execute("DROP SCHEMA verification_v1, verification CASCADE")
    load = Load(stack, 100)
    worker = stack.launch_worker(**PACE, HTTP_PORT=free_port())
    assert "alembic upgrade head" in until(lambda: worker.said("database.unavailable"))
    until(lambda: misses_database(worker))
    assert stack.provider.charges()["calls"] == 0
    migrate(stack.database_url)
    is_back(worker)
    load.all_is_counted(worker)


def test_when_no_connection_is_free_then_messages_wait_for_one(
    stack: Stack, narrow_database_url: str
) -> None:
    name = urlsplit(narrow_database_url).username
    load, worker = under_load(stack, DATABASE_URL=narrow_database_url, HTTP_PORT=free_port())
    with administrator(stack) as database:
        database.execute(f"ALTER ROLE {name} CONNECTION LIMIT 0".encode())
        until(lambda: terminate_all(database))
        until(lambda: misses_database(worker))
        database.execute(f"ALTER ROLE {name} CONNECTION LIMIT 3".encode())
        is_back(worker)
    load.all_is_counted(worker)


def test_when_workers_die_while_the_database_is_away_then_no_delivery_is_counted(
    stack: Stack, proxy_to: ProxyMaker
) -> None:
    """Each would bring a message nearer to the limit at which the broker gives it up."""
    proxy = proxy_to(stack.database_url)
    through = {"DATABASE_URL": proxy.url}
    first = stack.start_worker(**through)
    proxy.refuse()
    proxy.reset()
    until(lambda: first.said("worker.parked"))
    until(lambda: stack.consumers() == 0)
    ids = [f"uncounted-{number}" for number in range(20)]
    stack.publish_many(map(request, ids))
    first.kill()
    for _ in range(3):
        worker = stack.launch_worker(**through, HTTP_PORT=free_port())
        until(lambda worker=worker: times_said(worker, "amqp.connected") == 2)  # type: ignore[misc]
        until(lambda worker=worker: misses_database(worker))  # type: ignore[misc]
        assert worker.said('"reason":"database"')
        assert stack.depth(REQUESTS) == len(ids)
        worker.kill()
        assert not worker.said("amqp.consuming")
    last = stack.launch_worker(**through)
    until(lambda: last.said("worker.parked"))
    proxy.accept()
    accounts = finish(stack, ids, last)
    assert not last.said('"handed_back"')
    assert accounts.count("match") == len(accounts.events) == len(ids)


@pytest.fixture
def network(stack: Stack, proxy_to: ProxyMaker) -> Proxy:
    """Give the network between this stack's workers and the database."""
    return proxy_to(stack.database_url)


# The only test that takes its time: a failover does.
FAILOVER_SECONDS = 30.0


def test_when_a_failover_takes_half_a_minute_then_deliveries_wait_and_no_call_is_made_twice(
    stack: Stack, network: Proxy
) -> None:
    load, worker = under_load(stack, DATABASE_URL=network.url, HTTP_PORT=free_port())
    network.refuse()
    network.reset()
    end = time.monotonic() + FAILOVER_SECONDS
    until(lambda: misses_database(worker))
    is_left(stack)
    records_wait(stack)
    # What was claimed is called and waits to be recorded; nothing else is begun.
    rows, claimed = stack.count(), stack.count("calls")
    while time.monotonic() < end:
        assert misses_database(worker)
        assert (stack.count(), stack.count("calls")) == (rows, claimed)
        time.sleep(0.5)  # nothing to wait for: nothing may happen
    assert rows < stack.provider.charges()["calls"] <= claimed
    network.accept()
    until(lambda: worker.ready() == READY and stack.count() > rows)
    load.all_is_counted(worker)
    # Each thread that missed it says so, and again after thirty tries: not at each of them.
    assert times_said(worker, "database.unavailable") < 10


def test_when_the_network_stalls_and_breaks_then_batches_without_an_answer_are_repeated(
    stack: Stack, network: Proxy
) -> None:
    load, worker = under_load(stack, DATABASE_URL=network.url, HTTP_PORT=free_port())
    network.stall()
    records_wait(stack)
    until(lambda: misses_database(worker))
    network.resume()
    until(lambda: worker.ready() == READY)
    for _ in range(3):
        load.under_way(50)
        network.stall()
        records_wait(stack)
        network.reset()
        network.resume()
        is_back(worker)
    # The worst moment: a commit goes through and its answer does not. The ledger has it, and the
    # worker does not know.
    for step in range(1, 6):
        load.under_way(50)
        network.cut_after(1, TO_CLIENT)
        until(lambda step=step: network.cuts == step)  # type: ignore[misc]
        is_back(worker)
    load.all_is_counted(worker)


def test_when_told_to_stop_while_the_network_stalls_then_it_leaves_and_another_one_finishes(
    stack: Stack, network: Proxy
) -> None:
    short = {"CALL_DEADLINE": "1", "CONNECT_TIMEOUT": "0.5", "LEASE_MARGIN": "0.5"}
    behind = {"DATABASE_URL": network.url, "SHUTDOWN_GRACE": "2.5"}
    load, worker = under_load(stack, **short, **behind)
    network.stall()
    records_wait(stack)
    assert worker.stop() == 1
    assert worker.said('"clean":false')
    network.reset()
    stack.provider.play()
    second = stack.start_worker(**PACE)
    # Calls whose records were under way are in doubt, and repeated once.
    assert finish(stack, load.ids, second).count("match") == len(load.ids)
