"""Backup and restore: a dump under load goes into another server, and every count is explained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from local_database import Database
from local_programs import program
from tests.e2e.harness import REQUESTS, Stack, request, run_program, until
from tests.integration.store.conftest import engine_of
from tests.sql.test_changes import Copy
from worker.store.restoring import RIGHTS

_CALLS = "SELECT provider_request_id AS id, started_at AS at FROM verification_v1.calls"
# So that the other server's transactions begin with lower numbers than these rows have.
_BUSY = "DO 'BEGIN FOR n IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END'"
# What the dump shows at work has no worker any more.
_LAPSE = "UPDATE verification.request SET lease_until = now() WHERE lease_until IS NOT NULL"
_GRANTED = """
SELECT grantee::regrole::text, n.nspname || '.' || c.relname, privilege_type
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace, aclexplode(c.relacl)
 WHERE n.nspname LIKE 'verification%' AND grantee::regrole::text LIKE 'verification%'
 UNION
SELECT grantee::regrole::text, 'SCHEMA ' || nspname, privilege_type
  FROM pg_namespace, aclexplode(nspacl)
 WHERE nspname LIKE 'verification%' AND grantee::regrole::text LIKE 'verification%'
"""


@pytest.fixture
def other_server() -> Iterator[Database]:
    """Run a server of its own, without our roles."""
    server = Database(durable=False)
    server.start()
    yield server
    server.close()


def test_the_rights_that_a_restore_is_checked_for_are_those_of_the_migrations(
    database_url: str,
) -> None:
    wanted = {
        (role, name, right)
        for role, objects in RIGHTS.items()
        for name, rights in objects.items()
        for right in rights.split(", ")
    }
    with engine_of(database_url, "rights").connect() as database:
        assert {tuple(row) for row in database.execute(text(_GRANTED))} == wanted


def test_a_dump_under_load_is_restored_into_another_server_and_the_counts_are_explained(
    stack: Stack, other_server: Database, tmp_path: Path
) -> None:
    with psycopg.connect(stack.database_url, autocommit=True) as owner:
        owner.execute(_BUSY)
    stack.provider.play(latency=0.2)
    ids = [f"onb-{number}" for number in range(200)]
    worker = stack.start_worker(CONCURRENCY="4")
    stack.publish_many(map(request, ids[:120]))
    until(lambda: stack.count() > 40)
    dump = tmp_path / "dump"
    tool("pg_dump", "--format=custom", f"--file={dump}", stack.database_url)
    at_dump = stack.count()
    stack.publish_many(map(request, ids[120:]))
    until(lambda: stack.count() > at_dump + 40)
    assert worker.stop() == 0
    finished, calls = stack.results(), charged(stack)
    copy = copied(stack)

    # The server is lost. A dump has no roles, so the grants to them fail.
    restored = other_server.create_database("restored")
    tool("pg_restore", f"--dbname={restored}", str(dump), code=1)
    moved = Stack(stack.amqp_url, restored, stack.provider)
    looked = moved.command("restore-check", code=1)
    found = {line.split()[0]: line for line in looked.stdout.splitlines()[1:]}
    assert all("--repair" in found[each] for each in ("roles", "rights", "changes", "statistics"))
    repaired = moved.command("restore-check", "--repair")
    assert (repaired.returncode, "--repair" in repaired.stdout) == (0, False), repaired.stderr
    dumped = set(moved.results())
    try:
        moved.as_owner(_LAPSE)
        worker = moved.start_worker(CONCURRENCY="4")
        until(lambda: finished.keys() | moved.results().keys() == {*ids})
        # Events that the dump does not know to be sent are the relay's, after a minute.
        until(lambda: moved.depth(REQUESTS) == 0 and not moved.unsent(), 240)
        assert worker.stop() == 0
        results, ledger = moved.results(), charged(moved)
        lost = calls.keys() - ledger.keys()
        # What was finished after the dump was paid and announced: its message is gone, its row open
        # or not there. Everything else has its outcome, and nothing was paid twice.
        assert results.keys() == {*ids} - (finished.keys() - dumped)
        assert moved.count("open_requests") <= len(ids) - len(results)
        assert {each["requestId"] for each in moved.events()} == {*ids}
        charges = stack.provider.charges()["charges"]
        assert charges == len(ids) == len(calls.keys() | ledger.keys())
        assert unknown_to(moved, calls | ledger, tmp_path / "invoice.csv") == len(lost)
        # A reader goes on from where it was, and sees what is new and nothing again.
        assert copied(moved, copy.cursor).seen == results.keys() - dumped
        assert copied(moved).seen == results.keys()
    finally:
        moved.close()


class copied:  # noqa: N801  # reads as what it gives
    """All that a reader of `changes` sees from its cursor on, and the cursor that it ends with."""

    def __init__(self, stack: Stack, since: int = -1) -> None:
        with psycopg.connect(stack.database_url, autocommit=True) as reader:
            reader.execute("SET ROLE verification_reader")
            copy = Copy(reader, since=since)
            pages = list(iter(copy.read, []))
        self.cursor = copy.cursor
        self.seen = {each for page in pages for each in page}
        assert len(self.seen) == sum(map(len, pages)), "a change was read twice"


def charged(stack: Stack) -> dict[str, str]:
    """Return the provider's ids of the ledger's charged calls, with their times."""
    rows = stack.rows(f"{_CALLS} WHERE charged = 'yes'")
    return {row["id"]: row["at"].isoformat() for row in rows}


def unknown_to(stack: Stack, billed: dict[str, str], invoice: Path) -> int:
    """Return how many billed calls the ledger does not know, as `reconcile` counts them."""
    lines = ["requestId,time", *(f"{name},{at}" for name, at in billed.items())]
    invoice.write_text("\n".join(lines))
    said = stack.command("reconcile", str(invoice), "--json").stdout
    return int(json.loads(said)["summary"]["billed_unknown"])


def tool(name: str, *arguments: str, code: int = 0) -> None:
    """Run one of PostgreSQL's programs."""
    done = run_program(program(name), *arguments)
    if "server version mismatch" in done.stderr:  # LOCAL_PROGRAMS has the server alone
        pytest.skip(f"{name} is older than the server")
    assert done.returncode == code, done.stderr
