"""How PostgreSQL finds the rows of the statements that messages cause, when it knows no row yet.

A session keeps its plans. Those made for empty tables are the worst: to look through everything is
cheap then, and still done a million rows later.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.plans import nodes
from worker.store import outbox, statements
from worker.store.engine import compiled, connection, open_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine, TextClause

TABLES = {"request", "provider_call"}
BY_REQUEST_ID: dict[str, str | TextClause] = {
    "claim": statements.CLAIM,
    "take over": statements.TAKE_OVER,
    "rekey": statements.REKEY,
    "renew": statements.RENEW,
    "intended": statements.INTENDED,
    "read": statements.READ,
    "record": statements.RECORD,
    "hold": outbox.HOLD,
    "mark sent": outbox.MARK_SENT,
}


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Open the test's database as a worker does."""
    opened = open_engine(database_url, "plans", by_keys=True)
    yield opened
    opened.dispose()


@pytest.mark.parametrize("name", BY_REQUEST_ID)
def test_each_row_is_found_by_its_request_id(engine: Engine, name: str) -> None:
    statement = BY_REQUEST_ID[name]
    sql = statement if isinstance(statement, str) else compiled(statement.text)
    looked_up = [
        (each["Node Type"], _looked_up(each))
        for each in nodes(_plan(engine, sql))
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
        database.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
        database.exec_driver_sql(f"PREPARE planned AS {sql}")
        explain = f"EXPLAIN (FORMAT JSON) EXECUTE planned ({nothing})"
        (explained,) = database.exec_driver_sql(explain).scalar_one()
        plan: dict[str, Any] = explained["Plan"]
        return plan


def _looked_up(scan: dict[str, Any]) -> str:
    """Return what an index is asked for; a bitmap's is asked by the nodes below."""
    return str([each.get("Index Cond", "") for each in nodes(scan)])
