"""All chores together: their rights, and what they cost beside a year of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, TextClause, text

from tests.fakes.messages import ask
from tests.integration.store.upkeep import DAY, Rows, finish, leave_waiting, past
from worker.core.outcome import ErrorKind
from worker.core.request import Mode
from worker.store import erasure, leases, outbox
from worker.store.erasure import PostgresRetention
from worker.store.leases import PostgresLeases
from worker.store.outbox import PostgresOutbox

if TYPE_CHECKING:
    from worker.store.ledger import PostgresLedger


def test_the_worker_role_may_do_all_of_it(
    ledger: PostgresLedger, engine: Engine, sql: Rows
) -> None:
    finish(ledger, ask())
    leave_waiting(ledger, ask("lost", expires_at=past(6)))
    sql.age(60)
    with engine.connect() as database:  # the pool gives the same connection out again
        database.execute(text("SET ROLE verification_worker"))
    box = PostgresOutbox(engine, Mode.SANDBOX)
    settler = PostgresLeases(engine, Mode.SANDBOX, max_in_doubt_calls=1, abandon_after=None)
    keeper = PostgresRetention(engine, Mode.SANDBOX)
    assert [stored.request_id for stored, _ in box.take(100)] == ["onb-1"]
    box.hold(["onb-1"])
    box.mark_sent(["onb-1"])
    assert settler.settle_lapsed(100) == [ErrorKind.EXPIRED]
    assert keeper.clear_personal(1800, 500) == 1
    assert keeper.delete(1800, 500) == 1


# What a busy year leaves behind: nearly all of it finished, announced, and cleared in part.
_FILL = """
INSERT INTO verification.request (request_id, fingerprint, source, check_type, mode, state, calls,
  outcome, requested_at, completed_at, event_sent_at, cleared_at, lease_until)
SELECT 'onb-' || n, '\\x01', 'web', 2, 'sandbox', CASE n % 1000 WHEN 0 THEN 'working'
         WHEN 1 THEN 'waiting' ELSE 'done' END, 1,
  CASE WHEN n % 1000 > 1 THEN 'match' END, at, CASE WHEN n % 1000 > 1 THEN at END,
  CASE WHEN n % 1000 > 2 THEN at END, CASE WHEN n % 1000 > 2 AND n > 50000 THEN now() END,
  CASE WHEN n % 1000 = 0 THEN at END
  FROM generate_series(1, 100000) AS n, LATERAL (SELECT now() - make_interval(mins => n * 5)) t(at)
"""
_FILL_CALLS = """
INSERT INTO verification.provider_call (request_id, call_number, mode, worker, started_at,
  finished_at, class, charged)
SELECT request_id, 1, mode, 'one', requested_at, requested_at, 'answered', 'yes'
  FROM verification.request
"""


@pytest.fixture
def year(sql: Rows) -> Rows:
    """Fill the tables with 100,000 requests and let the planner know them."""
    for statement in (_FILL, _FILL_CALLS, "ANALYZE verification.request"):
        sql(statement)
    sql("ANALYZE verification.provider_call")
    return sql


def test_no_chore_reads_a_table_from_end_to_end(year: Rows) -> None:
    common = {"mode": "sandbox", "limit": 100}
    settling = {
        "max_in_doubt": 1,
        "abandon_after": 30 * DAY,
        "lapsed_for": 600.0,
        "expired_for": 300.0,
        "messages": "{}",
    }
    old = {**common, "older_than": 30 * DAY}
    statements: dict[str, tuple[TextClause, dict[str, object]]] = {
        "take": (outbox.TAKE_UNSENT, {**common, "unsent_for": 60.0, "held_for": 60.0}),
        "hold": (outbox.HOLD, {"ids": ["onb-1"], "held_for": 60.0}),
        "mark": (outbox.MARK_SENT, {"ids": ["onb-1"]}),
        "settle": (leases.SETTLE, {**common, **settling}),
        "clear": (erasure.CLEAR, {**old}),
        "delete": (erasure.DELETE, {**old}),
    }
    for name, (statement, asked) in statements.items():
        lines = [each["QUERY PLAN"] for each in year(f"EXPLAIN {statement.text}", **asked)]
        plan = "\n".join(lines)
        assert "Seq Scan on" not in plan, f"{name}:\n{plan}"
        assert "Index" in plan
