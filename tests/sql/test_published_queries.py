"""What people are told to ask goes through an index, with 200,000 rows in each table."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.bench.growth import fill
from tests.plans import nodes
from tests.sql.published import literal, queries

# A day has as large a share of them as of a million that are a second apart.
ROWS, SPACING = 200_000, 5
LARGE = {"request", "provider_call"}

# Rows that need not survive a crash, indexed when all are there: a quarter less work.
_FAST = [
    "ALTER TABLE verification.request SET UNLOGGED",
    "ALTER TABLE verification.provider_call SET UNLOGGED",
]
_INDEXES = """
SELECT format('%I.%I', schemaname, indexname), indexdef FROM pg_indexes
 WHERE schemaname = 'verification' AND indexname LIKE '%_idx'
"""


@pytest.fixture(scope="module")
def filled(module_database: str) -> str:
    """Give a database with finished requests and their calls."""
    with psycopg.connect(module_database, autocommit=True) as owner:
        indexes = owner.execute(_INDEXES).fetchall()
        for statement in _FAST:
            owner.execute(literal(statement))
        for index, _ in indexes:
            owner.execute(literal(f"DROP INDEX {index}"))
        fill(module_database, 0, ROWS, SPACING)
        for _, definition in indexes:
            owner.execute(literal(definition))
    return module_database


@pytest.fixture
def reader(filled: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute("SET ROLE verification_reader")
        yield connection


def read_whole(reader: psycopg.Connection, query: str) -> set[str]:
    """Return the large tables that the planner would read from end to end."""
    row: Any = reader.execute(literal(f"EXPLAIN (FORMAT JSON) {query}")).fetchone()
    found = (node for node in nodes(row[0][0]["Plan"]) if node["Node Type"] == "Seq Scan")
    return {node["Relation Name"] for node in found} & LARGE


# What readers ask with conditions of their own.
OWN = [
    f"SELECT * FROM verification_v1.results WHERE {condition}"  # noqa: S608
    for condition in (
        "requested_at >= current_date",
        "requested_at >= now() - interval '1 day'",
        "requested_at >= '2026-01-01'::date AND requested_at < '2026-01-02'::date",
        "source = 'bench' AND requested_at >= current_date",
        "source = lower('ONBOARDING')",
        "request_id = lower('ONB-1')",
    )
]


@pytest.mark.parametrize("query", [*queries(), *OWN])
def test_a_query_of_people_reads_no_large_table_whole(
    reader: psycopg.Connection, query: str
) -> None:
    assert read_whole(reader, query) == set()


def test_the_check_knows_a_sequential_scan_when_it_sees_one(reader: psycopg.Connection) -> None:
    query = "SELECT * FROM verification_v1.results WHERE outcome = 'failed'"
    assert read_whole(reader, query) == {"request"}
    query = "SELECT * FROM verification_v1.calls WHERE http_status = 500"
    assert read_whole(reader, query) == {"provider_call"}


def test_the_days_add_up_to_all_calls_and_a_few_days_read_only_theirs(
    reader: psycopg.Connection,
) -> None:
    days = "SELECT day, sum(calls) FROM verification_v1.daily_calls {} GROUP BY day ORDER BY day"
    counted = reader.execute(literal(days.format(""))).fetchall()
    plainly = reader.execute(
        """SELECT (started_at AT TIME ZONE 'Asia/Shanghai')::date, count(*)
             FROM verification_v1.calls GROUP BY 1 ORDER BY 1"""
    ).fetchall()
    assert counted == plainly
    asked = days.format("WHERE day BETWEEN current_date - 3 AND current_date - 2")
    (plan,) = reader.execute(literal(f"EXPLAIN (ANALYZE, FORMAT JSON) {asked}")).fetchone() or ()
    read = [
        node["Actual Rows"] * node["Actual Loops"]
        for node in nodes(plan[0]["Plan"])
        if node.get("Relation Name") == "provider_call"
    ]
    assert max(read) <= 2 * 86_400 / SPACING
