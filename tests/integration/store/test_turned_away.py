"""Messages without a row of their own: counted by day, source and reason."""

import pytest
from sqlalchemy import Engine

from tests.integration.store.upkeep import RACERS, Rows, race
from worker.core.request import Mode
from worker.store import fleet
from worker.store.erasure import PostgresRetention
from worker.store.fleet import count_turned_away

_COUNTED = "SELECT mode, source, reason, messages FROM verification_v1.turned_away ORDER BY 1, 2, 3"


def counted(sql: Rows) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in sql(_COUNTED)]


def test_counts_of_all_workers_add_up_by_mode_source_and_reason(
    engine: Engine, sql: Rows, database_url: str
) -> None:
    counts: dict[tuple[object, object], int] = {
        ("web", "conflict"): 2,
        (None, "not_json"): 1,
        ("app", "conflict"): 1,
    }
    race(database_url, lambda own, _: count_turned_away(own, Mode.LIVE, counts))
    count_turned_away(engine, Mode.SANDBOX, {("web", "conflict"): 5})
    assert counted(sql) == [
        ("live", "app", "conflict", RACERS),
        ("live", "web", "conflict", 2 * RACERS),
        ("live", None, "not_json", RACERS),
        ("sandbox", "web", "conflict", 5),
    ]


def test_who_names_a_new_source_each_time_fills_no_table(
    engine: Engine, sql: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "ROWS_A_DAY", 3)
    for first in (0, 100):
        made: dict[tuple[object, object], int] = {
            (f"s-{first + number}", "no_usable_id"): 1 for number in range(100)
        }
        count_turned_away(engine, Mode.LIVE, made)
    rows = counted(sql)
    assert (len(rows), sum(int(str(row[3])) for row in rows)) == (4, 200)
    assert ("live", None, "no_usable_id", 197) in rows


def test_days_go_with_the_requests_of_their_mode(engine: Engine, sql: Rows) -> None:
    for mode in Mode:
        count_turned_away(engine, mode, {("web", "conflict"): 1})
    sql("UPDATE verification.turned_away SET day = day - 10")
    count_turned_away(engine, Mode.LIVE, {("web", "conflict"): 2})
    PostgresRetention(engine, Mode.LIVE).delete(9 * 86_400.0, 500)
    assert counted(sql) == [("live", "web", "conflict", 2), ("sandbox", "web", "conflict", 1)]
