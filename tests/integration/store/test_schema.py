"""What people and roles find in the database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from tests.fakes.clock import FakeClock
from tests.fakes.messages import PERSON, deliver, request, spec
from tests.fakes.verifier import FakeVerifier
from worker.contract.request_v1 import RequestReader
from worker.core.checks import CheckPolicy
from worker.core.digests import Digests
from worker.core.masking import scrub
from worker.core.outcome import AuthInfo, CallClass, CallReport, Charged, Outcome
from worker.core.request import Mode, Person, PersonField
from worker.core.retry import RetryPolicy
from worker.pipeline.flow import Flow, FlowRules

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from worker.store.ledger import PostgresLedger

CHECKOUT = Path(__file__).resolve().parents[3]
VIEWS = ("results", "open_requests", "calls", "daily_calls")


def alembic(database_url: str, *arguments: str) -> str:
    """Run Alembic's own command as an operator does; return what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "DATABASE_URL": database_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_migrations_say_what_the_tables_say(database_url: str) -> None:
    assert "No new upgrade operations detected" in alembic(database_url, "check")


@pytest.mark.usefixtures("own_database_url")
def test_the_schema_can_be_taken_down_and_put_up_again(database_url: str, engine: Engine) -> None:
    alembic(database_url, "downgrade", "base")
    with engine.connect() as database:
        left = database.execute(
            text("""SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
                WHERE nspname LIKE 'verification%' AND relname NOT LIKE 'alembic_version%'""")
        ).all()
    assert left == []
    alembic(database_url, "upgrade", "head")
    assert "No new upgrade operations detected" in alembic(database_url, "check")
    with engine.connect() as database:
        database.execute(text("SET ROLE verification_reader"))
        database.execute(text("SELECT * FROM verification_v1.results"))
        database.execute(text("RESET ROLE"))


def test_a_second_upgrade_changes_nothing(database_url: str) -> None:
    assert "Running upgrade" not in alembic(database_url, "upgrade", "head")


@pytest.mark.parametrize("view", VIEWS)
def test_the_reader_reads_every_view(engine: Engine, view: str) -> None:
    with engine.connect() as database:
        database.execute(text("SET ROLE verification_reader"))
        assert database.execute(text(f"SELECT * FROM verification_v1.{view}")).all() == []  # noqa: S608
        database.execute(text("RESET ROLE"))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM verification.request",
        "SELECT * FROM verification.provider_call",
        "SELECT * FROM verification.alembic_version",
        "INSERT INTO verification.request (request_id) VALUES ('x')",
        "DELETE FROM verification_v1.results",  # a simple view passes writes on to its table
        "UPDATE verification_v1.open_requests SET source = 'x'",
        "INSERT INTO verification_v1.calls (request_id) VALUES ('x')",
        "CREATE TABLE verification_v1.mine (x int)",
    ],
)
def test_the_reader_is_refused_everything_else(engine: Engine, statement: str) -> None:
    with engine.connect() as database:
        database.execute(text("SET ROLE verification_reader"))
        with pytest.raises(ProgrammingError, match="permission denied"):
            database.execute(text(statement))
        database.execute(text("RESET ROLE"))


def test_the_worker_role_may_do_its_work(engine: Engine, ledger: PostgresLedger) -> None:
    flow = flow_over(ledger, FakeVerifier())
    with engine.connect() as database:  # the pool gives the same connection out again
        database.execute(text("SET ROLE verification_worker"))
    (task,) = flow.admit([deliver()], "1").tasks
    (settlement,) = flow.record([flow.call(task)], [])
    assert settlement.line["outcome"] == "match"


def test_everything_has_a_comment(engine: Engine) -> None:
    """Tables, views and each of their columns: `psql` explains itself."""
    with engine.connect() as database:
        bare = database.execute(
            text("""
            SELECT c.relname, a.attname FROM pg_class c
              JOIN pg_namespace n ON n.oid = c.relnamespace
              LEFT JOIN LATERAL (
                SELECT 0 AS attnum, NULL AS attname UNION ALL
                SELECT attnum, attname FROM pg_attribute
                 WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) a ON true
             WHERE n.nspname IN ('verification', 'verification_v1') AND c.relkind IN ('r', 'v', 'm')
               AND NOT EXISTS (SELECT FROM pg_description d
                                WHERE d.objoid = c.oid AND d.objsubid = a.attnum
                                  AND d.classoid = 'pg_class'::regclass AND d.description <> '')
            """)
        ).all()
    assert bare == []


def flow_over(ledger: PostgresLedger, verifier: FakeVerifier) -> Flow:
    """Return a flow from messages to this ledger."""
    return Flow(
        RequestReader(CheckPolicy(), 1_000_000),
        Digests(b"k" * 32),
        ledger,
        verifier,
        FakeClock(),
        FlowRules(Mode.SANDBOX, RetryPolicy((5, 30), 1), start_within=60.0),
    )


def test_no_personal_data_stands_in_any_row(ledger: PostgresLedger, engine: Engine) -> None:
    everything = "".join(PERSON.values())
    person = Person({field: PERSON[field] for field in PersonField})
    told = AuthInfo(
        success=False,
        has_exception=False,
        code="2",
        message=scrub(everything.replace(PERSON["imgBase64"], ""), person),
        detail=scrub(json.dumps(PERSON), person),
    )
    mismatch = CallReport(CallClass.ANSWERED, Charged.YES, Outcome.MISMATCH, told)
    flow = flow_over(ledger, FakeVerifier(*[mismatch] * 5))
    bodies = [request(f"type-{number}", personalSpec=spec(number)) for number in range(5)]
    bodies += [
        request("refused", personalSpec=spec(2, mobile=PERSON["mobile"])),
        request("wrong", personalSpec=spec(0, idCard=PERSON["idCard"][:-1] + "0")),
        request("unknown", personalSpec=spec(2), **{PERSON["bankcard"]: PERSON["name"]}),
        request("leak", source=PERSON["mobile"], personalSpec=spec(4)),
    ]
    admission = flow.admit([deliver(body) for body in bodies], "1")
    finished = [flow.call(task) for task in admission.tasks] + admission.finished
    assert len(flow.record(finished, [])) == len(bodies)
    with engine.connect() as database:
        rows = [
            row
            for table in ("verification.request", "verification.provider_call")
            for row in database.execute(text(f"SELECT t::text FROM {table} t")).scalars()  # noqa: S608
        ]
    assert len(rows) == len(bodies) + 5
    digits = PERSON["idCard"][:-1]
    for canary in (*PERSON.values(), PERSON["imgBase64"][:64], digits, PERSON["name"][1:]):
        assert not [row for row in rows if canary in row]


# Look-ups.

# A few thousand rows and fresh statistics, so that the planner means what it says.
_FILL = """
INSERT INTO verification.request (request_id, fingerprint, source, check_type, mode, state,
  subject_digest, outcome, requested_at, completed_at)
SELECT 'onb-' || n, '\\x01', 'source-' || n % 500, 2, 'live', 'done',
  sha256(int4send(n / 2)), 'match', now() - make_interval(mins => n),
  now() - make_interval(mins => n)
  FROM generate_series(1, 20000) AS n
"""


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Fill the table with what months leave behind."""
    with engine.connect() as database:
        database.execute(text(_FILL))
        database.execute(text("ANALYZE verification.request"))
    return engine


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        ("request_id = 'onb-77'", "request_pkey"),
        (
            "subject_digest = sha256(int4send(77)) ORDER BY requested_at DESC",
            "request_subject_digest_idx",
        ),
        (
            "source = 'source-7' AND requested_at > now() - interval '10 days'",
            "request_source_requested_at_idx",
        ),
        (
            "source = 'source-7' ORDER BY requested_at DESC LIMIT 20",
            "request_source_requested_at_idx",
        ),
        ("requested_at > now() - interval '1 hour'", "request_requested_at_idx"),
    ],
)
def test_a_look_up_uses_its_index(filled: Engine, condition: str, index: str) -> None:
    """Through the view and as its reader: a security barrier keeps some conditions out."""
    with filled.connect() as database:
        database.execute(text("SET ROLE verification_reader"))
        plan = database.execute(
            text(f"EXPLAIN SELECT * FROM verification_v1.results WHERE {condition}")  # noqa: S608
        ).scalars()
        lines = "\n".join(plan)
        database.execute(text("RESET ROLE"))
    assert index in lines
    assert "Seq Scan" not in lines


def test_open_requests_are_found_without_reading_the_finished_ones(filled: Engine) -> None:
    with filled.connect() as database:
        plan = database.execute(text("EXPLAIN SELECT * FROM verification_v1.open_requests"))
        assert "request_open_idx" in "\n".join(plan.scalars())
