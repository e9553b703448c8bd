"""How PostgreSQL finds rows: when it knows none yet, and beside what a year has left behind.

A session keeps its plans. Those made for empty tables are the worst: to look through everything is
cheap then, and still done a million rows later.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, TextClause, text

from tests.conftest import NewDatabase
from tests.plans import nodes
from worker.core.outcome import Outcome
from worker.core.request import Mode
from worker.store import backlog, booking, erasure, leases, outbox, overview, quota_row, statements
from worker.store.engine import compiled, connection, open_engine
from worker.store.inquiry import RequestFilter, selection
from worker.store.reuse import REUSABLE

TABLES = {"request", "provider_call"}
BY_REQUEST_ID: dict[str, str | TextClause] = {
    "claim": statements.CLAIM,
    "take over": statements.TAKE_OVER,
    "rekey": statements.REKEY,
    "renew": statements.RENEW,
    "cap": statements.CAP,
    "read": statements.READ,
    "record": statements.RECORD,
    "booked calls": booking.CALLS,
    "count": booking.COUNT,
    "adopt": booking.ADOPT,
    "tokens": quota_row.TOKENS_HELD,
    "hold": outbox.HOLD,
    "mark sent": outbox.MARK_SENT,
}


@pytest.fixture(scope="module")
def by_keys(new_database: NewDatabase) -> Iterator[Engine]:
    """Open a database as a worker does; it never held a row, so nobody has counted any in it."""
    with new_database() as url:
        opened = open_engine(url, "plans", by_keys=True)
        yield opened
        opened.dispose()


@pytest.mark.parametrize("name", BY_REQUEST_ID)
def test_each_row_is_found_by_its_request_id(by_keys: Engine, name: str) -> None:
    statement = BY_REQUEST_ID[name]
    sql = statement if isinstance(statement, str) else compiled(statement.text)
    looked_up = [
        (each["Node Type"], _looked_up(each))
        for each in nodes(_plan(by_keys, sql))
        if each.get("Relation Name") in TABLES and each["Node Type"] != "ModifyTable"
    ]
    # A claim only inserts: its rows meet the key as a conflict.
    assert looked_up or name == "claim"
    assert [each for each in looked_up if "request_id" not in each[1]] == []


def _plan(engine: Engine, sql: str) -> dict[str, Any]:
    """Return the plan that a worker's session makes once for any parameters."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql)))
    for number, each in enumerate(names, start=1):
        sql = sql.replace(f"%({each})s", f"${number}")
    nothing = ", ".join(["NULL"] * len(names))
    with connection(engine) as database:
        database.exec_driver_sql(f"PREPARE planned AS {sql}")
        explain = f"EXPLAIN (FORMAT JSON) EXECUTE planned ({nothing})"
        (explained,) = database.exec_driver_sql(explain).scalar_one()
        database.exec_driver_sql("DEALLOCATE planned")
        plan: dict[str, Any] = explained["Plan"]
        return plan


def _looked_up(scan: dict[str, Any]) -> str:
    """Return what an index is asked for; a bitmap's is asked by the nodes below."""
    return str([each.get("Index Cond", "") for each in nodes(scan)])


# What a busy year leaves behind: nearly all of it finished, announced, and cleared in part.
_YEAR = """
INSERT INTO verification.request (request_id, fingerprint, source, check_type, mode, state, calls,
  subject_digest, outcome, requested_at, completed_at, event_sent_at, cleared_at, lease_until)
SELECT 'onb-' || n, '\\x01', 'source-' || n % 500, 2, 'sandbox', CASE n % 1000 WHEN 0 THEN 'working'
         WHEN 1 THEN 'waiting' ELSE 'done' END, 1, sha256(int4send(n / 2)),
  CASE WHEN n % 1000 > 1 THEN 'match' END, at, CASE WHEN n % 1000 > 1 THEN at END,
  CASE WHEN n % 1000 > 2 THEN at END, CASE WHEN n % 1000 > 2 AND n > 50000 THEN now() END,
  CASE WHEN n % 1000 = 0 THEN at END
  FROM generate_series(1, 100000) AS n, LATERAL (SELECT now() - make_interval(mins => n * 5)) t(at)
"""
_CALLS_OF_THE_YEAR = """
INSERT INTO verification.provider_call (request_id, call_number, mode, worker, started_at,
  finished_at, class, charged, provider_request_id)
SELECT request_id, 1, mode, 'one', requested_at, requested_at, 'answered', 'yes', md5(request_id)
  FROM verification.request
"""


@pytest.fixture(scope="module")
def year(new_database: NewDatabase) -> Iterator[Engine]:
    """Fill tables with 100,000 requests, let the planner know them, and leave them as they are."""
    with new_database() as url:
        filled = open_engine(url, "a year")
        with filled.connect() as database:
            for statement in (_YEAR, _CALLS_OF_THE_YEAR, "ANALYZE"):
                database.execute(text(statement))
        yield filled
        filled.dispose()


_MODE = {"mode": "sandbox", "limit": 100}
_OLD = {**_MODE, "older_than": 30 * 86_400.0}
_OVERDUE = {"clear_after": 86_400.0, "delete_after": math.inf}
_HELD = {"held_for": 60.0}
_LAPSED = {"lapsed_for": 600.0, "expired_for": 300.0, "abandon_after": 30 * 86_400.0}
_LATEST: dict[str, object] = {"at_most": overview.LATEST_AT_MOST}
_WANTED = {"wanted": "onb-1", "subject": "\\x02", "fingerprint": "\\x01"}
_DAY = RequestFilter(since=datetime.now(UTC) - timedelta(days=1), outcome=Outcome.FAILED)
BY_AGE: dict[str, tuple[TextClause, dict[str, object]]] = {
    "take": (outbox.TAKE_UNSENT, {**_MODE, **_HELD, "unsent_for": 60.0}),
    "hold": (outbox.HOLD, {**_HELD, "ids": ["onb-1"]}),
    "mark": (outbox.MARK_SENT, {"ids": ["onb-1"]}),
    "settle": (leases.SETTLE, {**_MODE, **_LAPSED, "max_in_doubt": 1, "messages": "{}"}),
    "clear": (erasure.CLEAR, _OLD),
    "delete": (erasure.DELETE, _OLD),
    "backlog": (backlog.BACKLOG, {**_MODE, **_OVERDUE, "at_most": backlog.COUNTED_AT_MOST}),
    "open": (overview.OPEN_REQUESTS, {}),
    "unsent": (overview.UNSENT_EVENTS, {}),
    "outcomes": (overview.OUTCOMES, {}),
    "outcomes by hour": (overview.OUTCOMES_BY_HOUR, {}),
    "calls by hour": (overview.CALLS_BY_HOUR, {}),
    "calls": (overview.CALLS, _LATEST),
    "workers": (overview.WORKERS, {**_LATEST, "minutes": 5}),
    "requests": selection(_DAY),
    "requests, the next page": selection(
        replace(_DAY, last_at=datetime.now(UTC) - timedelta(hours=1), last_id="r")
    ),
    "requests of a source": selection(replace(_DAY, since=None, source="source-7")),
    "requests of a person": selection(RequestFilter(subjects=(bytes(32), bytes(32)))),
    "find": (erasure.FIND, {"subjects": [b"\x02", b"\x04"]}),
    "erase": (erasure.ERASE, {"subjects": [b"\x02", b"\x04"], "limit": 500}),
    "reusable": (REUSABLE, {**_MODE, "batch": json.dumps([_WANTED] * 128), "within": 86_400.0}),
}


@pytest.mark.parametrize("name", BY_AGE)
def test_no_chore_and_no_part_of_the_status_reads_a_large_table_whole(
    year: Engine, name: str
) -> None:
    statement, values = BY_AGE[name]
    plan = explained(year, statement.text, {"limit": 100, **values})
    assert not re.search("Seq Scan on (request|provider_call)", plan), plan
    assert "Index" in plan


def test_a_look_at_the_backlog_counts_what_a_year_has_left_unfinished(year: Engine) -> None:
    unfinished = backlog.PostgresBacklog(year, Mode.SANDBOX).read()
    assert (unfinished.unsent_events, unfinished.lapsed_requests) == (100, 100)


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ("results WHERE request_id = 'onb-77'", "request_pkey"),
        (
            "results WHERE subject_digest = sha256(int4send(77)) ORDER BY requested_at DESC",
            "request_subject_digest_idx",
        ),
        (
            "results WHERE source = 'source-7' AND requested_at > now() - interval '10 days'",
            "request_source_requested_at_idx",
        ),
        (
            "results WHERE source = 'source-7' ORDER BY requested_at DESC LIMIT 20",
            "request_source_requested_at_idx",
        ),
        ("results WHERE requested_at > now() - interval '1 hour'", "request_requested_at_idx"),
        ("open_requests", "request_open_idx"),
        (
            "calls WHERE provider_request_id = md5('onb-77')",
            "provider_call_provider_request_id_idx",
        ),
    ],
)
def test_a_persons_look_up_uses_its_index(year: Engine, asked: str, index: str) -> None:
    """Through the view and as its reader: a security barrier keeps some conditions out."""
    sql = f"SELECT * FROM verification_v1.{asked}"  # noqa: S608
    plan = explained(year, sql, {}, role="verification_reader")
    assert index in plan
    assert "Seq Scan" not in plan


def explained(engine: Engine, sql: str, values: dict[str, object], role: str = "NONE") -> str:
    """Return the plan of a statement, as text."""
    with engine.connect() as database:
        database.execute(text(f"SET ROLE {role}"))
        plan = "\n".join(database.execute(text(f"EXPLAIN {sql}"), values).scalars())
        database.execute(text("RESET ROLE"))
    return plan
