"""What people who read results may see and do, tried as a login that the guide's recipe made."""

import psycopg
import pytest
from psycopg import errors

from tests.sql.published import literal

VIEWS = ["calls", "changes", "daily_calls", "open_requests", "results", "turned_away"]

_READABLE = """
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'
   AND has_schema_privilege(current_user, n.oid, 'USAGE')
   AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(current_user, c.oid, 'USAGE, SELECT')
       ELSE has_any_column_privilege(current_user, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') END
 ORDER BY 1, 2
"""

_SETTLED = """
INSERT INTO verification.request (request_id, fingerprint, source, mode, state, lease_until,
    outcome, completed_at)
VALUES ('done', '\\x01', 'x', 'live', 'done', NULL, 'match', now()),
       ('open', '\\x01', 'x', 'live', 'working', now(), NULL, NULL)
"""

_SPY = """
CREATE FUNCTION pg_temp.spy(told text) RETURNS boolean COST 0.0001 LANGUAGE plpgsql AS
$$ BEGIN RAISE NOTICE '%', told; RETURN true; END $$
"""


@pytest.fixture
def writable(reader: psycopg.Connection) -> psycopg.Connection:
    """Give a reader who has taken off the belt that anybody may take off."""
    reader.execute("SET default_transaction_read_only = off")
    return reader


def test_the_reader_reads_the_views_and_nothing_else(reader: psycopg.Connection) -> None:
    found = reader.execute(_READABLE).fetchall()
    assert found == [("verification_v1", view) for view in VIEWS]
    for view in VIEWS:
        assert reader.execute(literal(f"TABLE verification_v1.{view}")).fetchall() == []


def test_the_reader_is_refused_everything_else(writable: psycopg.Connection) -> None:
    for statement in (
        "SELECT * FROM verification.request",
        "SELECT fingerprint FROM verification.request",
        "SELECT * FROM verification.fleet_control",
        "SELECT verification.stamp_change()",
        "INSERT INTO verification_v1.changes (request_id) VALUES ('x')",
        "UPDATE verification_v1.results SET outcome = 'match'",
        "DELETE FROM verification_v1.calls",
        "CREATE TABLE verification_v1.mine (n int)",
        "CREATE FUNCTION verification.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SET ROLE verification_worker",
        "SELECT pg_read_file('/etc/passwd')",
        "UPDATE verification_v1.open_requests SET source = 'x'",
        "SELECT * FROM verification.alembic_version",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            writable.execute(literal(statement))


def test_who_logs_in_by_the_guides_recipe_reads_only_and_not_for_ever(
    reader: psycopg.Connection,
) -> None:
    with pytest.raises(errors.ReadOnlySqlTransaction):
        reader.execute("CREATE TEMP TABLE mine (n int)")
    shown = [
        reader.execute(literal(f"SHOW {name}")).fetchone()
        for name in (
            "statement_timeout",
            "idle_in_transaction_session_timeout",
            "timezone",
            "search_path",
        )
    ]
    assert shown == [("1min",), ("1min",), ("Asia/Shanghai",), ("verification_v1",)]


def test_the_limit_of_connections_holds(reader_url: str) -> None:
    held = [psycopg.connect(reader_url) for _ in range(5)]
    try:
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            psycopg.connect(reader_url)
    finally:
        for each in held:
            each.close()


def test_a_spying_condition_sees_no_row_and_no_column_that_the_views_do_not_show(
    owner: psycopg.Connection, writable: psycopg.Connection, database_url: str
) -> None:
    """Without security_barrier a cheap function sees rows that the view then leaves out."""
    told: list[str | None] = []
    writable.add_notice_handler(lambda notice: told.append(notice.message_primary))
    with (
        psycopg.connect(database_url) as early,
        writable.transaction(force_rollback=True),  # no function is left that hangs on the login
    ):
        early.execute("SELECT pg_current_xact_id()")
        owner.execute(_SETTLED)
        writable.execute(_SPY)
        writable.execute("SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off")
        spying = "SELECT 1 FROM verification_v1.changes WHERE pg_temp.spy(request_id)"
        assert writable.execute(spying).fetchall() == []
        assert "done" in told
        rows = writable.execute(
            """SELECT request_id FROM verification_v1.results UNION ALL
               SELECT request_id FROM verification_v1.open_requests"""
        ).fetchall()
        assert set(told) <= {request_id for (request_id,) in rows} == {"done", "open"}
        with pytest.raises(errors.UndefinedColumn):
            writable.execute(
                "SELECT 1 FROM verification_v1.results WHERE pg_temp.spy(fingerprint::text)"
            )


def test_the_workers_role_owns_nothing_and_creates_nothing(owner: psycopg.Connection) -> None:
    owns = owner.execute(
        """SELECT count(*) FROM pg_shdepend WHERE deptype = 'o'
              AND refobjid = 'verification_worker'::regrole"""
    ).fetchone()
    assert owns == (0,)
    creates = owner.execute(
        """SELECT nspname FROM pg_namespace WHERE nspname LIKE 'verification%'
              AND has_schema_privilege('verification_worker', oid, 'CREATE')"""
    ).fetchall()
    assert creates == []
    owner.execute("SET ROLE verification_worker")
    with pytest.raises(errors.InsufficientPrivilege):
        owner.execute("TABLE verification_v1.results")
