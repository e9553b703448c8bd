"""How all requests stand, in numbers: the backlog for metrics, the overview for `status`."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

from tests.fakes.messages import ask
from tests.integration.store.upkeep import Rows, finish, leave_waiting
from worker.core.operations import Backlog
from worker.core.request import Mode
from worker.store import backlog as store_backlog
from worker.store.backlog import PostgresBacklog
from worker.store.engine import execute, open_engine
from worker.store.ledger import PostgresLedger
from worker.store.overview import PostgresOverview
from worker.store.restoring import PostgresRestore


@pytest.fixture
def reader(engine: Engine) -> PostgresBacklog:
    return PostgresBacklog(engine, Mode.SANDBOX)


def test_unsent_events_are_counted_and_the_oldest_gives_the_age(
    reader: PostgresBacklog, engine: Engine, ledger: PostgresLedger, sql: Rows
) -> None:
    finish(ledger, ask("old"), ask("new"), ask("sent"))
    ledger.record([], ["sent"])
    sql.age(60, "old")
    assert PostgresBacklog(engine, Mode.LIVE).read() == Backlog()
    backlog = reader.read()
    assert backlog.unsent_events == 2
    assert 3_600 <= backlog.oldest_unsent < 7_200
    assert backlog.lapsed_requests == 0


def test_a_request_is_lapsed_when_its_lease_is_over_and_nobody_has_it(
    reader: PostgresBacklog, engine: Engine, ledger: PostgresLedger, sql: Rows
) -> None:
    ledger.claim([ask("lapsed"), ask("held")], "1")
    leave_waiting(ledger, ask("waiting"))
    sql.age(5, "lapsed")
    assert reader.read() == Backlog(lapsed_requests=1)
    assert PostgresBacklog(engine, Mode.LIVE).read() == Backlog()


@pytest.mark.parametrize(("days_ago", "seen"), [(0, 17), (1, 0)])
def test_calls_of_today_are_counted_by_shanghais_calendar_and_each_mode_for_itself(
    reader: PostgresBacklog, engine: Engine, sql: Rows, days_ago: int, seen: int
) -> None:
    sql(
        """INSERT INTO verification.call_quota (mode, next_call_at, day, calls_today)
           VALUES ('sandbox', now(), (now() AT TIME ZONE 'Asia/Shanghai')::date - :ago, 17)""",
        ago=days_ago,
    )
    assert reader.read().calls_today == seen
    assert PostgresBacklog(engine, Mode.LIVE).read().calls_today == 0


def test_the_count_ends_at_a_bound_and_the_oldest_come_first(
    reader: PostgresBacklog, ledger: PostgresLedger, sql: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_backlog, "COUNTED_AT_MOST", 2)
    finish(ledger, *(ask(f"done-{number}") for number in range(4)))
    sql.age(10, "done-3")
    backlog = reader.read()
    assert backlog.unsent_events == 2
    assert backlog.oldest_unsent >= 600


@pytest.mark.parametrize(
    ("clear_after", "delete_after", "overdue"),
    [(0, 0, 0), (1, 0, 4), (1, 3, 5), (5, 6, 2), (9, 9, 0)],
)
def test_what_retention_has_left_lying_is_measured_by_the_oldest(
    engine: Engine,
    ledger: PostgresLedger,
    sql: Rows,
    clear_after: int,
    delete_after: int,
    overdue: int,
) -> None:
    """A whole row five days old, a cleared one of eight; an unsent one is not retention's yet."""
    finish(ledger, ask("whole"), ask("cleared"), ask("unsent"))
    ledger.record([], ["whole", "cleared"])
    sql("UPDATE verification.request SET cleared_at = now() WHERE request_id = 'cleared'")
    for name, days in (("whole", 5), ("cleared", 8), ("unsent", 30)):
        sql.age(days * 24 * 60, name)
    reader = PostgresBacklog(
        engine, Mode.SANDBOX, clear_after_days=clear_after, delete_after_days=delete_after
    )
    assert int(reader.read().retention_overdue / 86_400) == overdue


def test_the_server_tells_its_time_and_its_connections_to_the_least_of_users(
    as_worker: Engine,
) -> None:
    server = PostgresBacklog(as_worker, Mode.SANDBOX).server()
    assert 1 <= server.connections <= server.connections_limit
    assert server.at.tzinfo is not None


def test_times_are_utc_whatever_zone_the_servers_sessions_have(
    database_url: str, ledger: PostgresLedger
) -> None:
    """What is shown of them says so."""
    ledger.claim([ask()], "1")
    joint = "&" if "?" in database_url else "?"
    options = "-c%20timezone%3DAsia/Shanghai%20-c%20datestyle%3DGerman"
    china = open_engine(f"{database_url}{joint}options={options}", "china")
    never = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    try:
        assert execute(china, text("SHOW timezone")) == [("Asia/Shanghai",)]
        assert execute(china, text("SELECT timestamptz '9999-12-31T23:59:59Z'")) == [(never,)]
        first = text("SELECT timestamptz '0001-01-01T00:00:00Z' - interval '1 hour'")
        assert execute(china, first) == [(datetime.min.replace(tzinfo=UTC),)]
        last_at = PostgresRestore(china).knowledge().last_at
    finally:
        china.dispose()
    assert last_at is not None
    assert last_at.tzinfo is UTC


@pytest.mark.parametrize(("revision", "behind"), [("0001", True), ("9999", False)])
def test_an_older_schema_is_behind_and_a_newer_one_is_not(
    reader: PostgresBacklog, sql: Rows, revision: str, behind: bool
) -> None:
    sql("UPDATE verification.alembic_version SET version_num = :revision", revision=revision)
    assert reader.read().schema_behind is behind


@pytest.mark.usefixtures("own_database_url")
def test_a_database_without_any_of_our_tables_is_behind(reader: PostgresBacklog, sql: Rows) -> None:
    sql("DROP SCHEMA verification CASCADE")
    assert reader.read() == Backlog(schema_behind=True)


# The overview.


def classes(view: PostgresOverview) -> list[tuple[object, ...]]:
    """Return each class of calls with its calls, those charged, in doubt and of unknown charge."""
    names = ("call_class", "calls", "charged", "in_doubt", "charge_unknown")
    return [tuple(each[name] for name in names) for each in view.calls()]


def test_the_last_hour_is_counted_whatever_retention_has_done(
    engine: Engine, ledger: PostgresLedger, sql: Rows
) -> None:
    """Finished rows stand in three indexes: unsent, announced and whole, cleared."""
    finish(ledger, *map(ask, ["unsent", "kept", "cleared", "old"]))
    ledger.record([], ["kept", "cleared", "old"])
    sql.age(61, "old")
    sql("UPDATE verification.request SET cleared_at = now() WHERE request_id = 'cleared'")
    view = PostgresOverview(engine)
    assert view.outcomes() == {"match": 3}
    for hours, kind in ((view.outcomes_by_hour(), "match"), (view.calls_by_hour(), "yes")):
        last = {at: count for (at, of), count in hours.counts.items() if of == kind}
        assert sum(last.values()) == 4
        assert max(last) <= hours.last
        assert {at.minute for at in last} == {0}
    assert classes(view) == [("answered", 3, 3, 0, 0)]
    assert view.unsent_events()["events"] == 1
    ((name, calls),) = [(each["name"], each["calls"]) for each in view.workers()]
    assert (name, calls) == ("one", 3)


def test_a_call_in_doubt_is_told_from_another_of_unknown_charge(
    engine: Engine, ledger: PostgresLedger, sql: Rows
) -> None:
    """A 503 is an answer: nobody knows its charge, but it is not in doubt."""
    finish(ledger, *map(ask, ["lost", "answered", "503", "504"]))
    ledger.claim([ask("under-way")], "1")
    sql("UPDATE verification.provider_call SET charged = 'unknown' WHERE request_id <> 'answered'")
    for call_class, ids in (("unavailable", ["503"]), ("in_doubt", ["lost", "504"])):
        sql(
            "UPDATE verification.provider_call SET class = :c WHERE request_id = ANY(:ids)",
            c=call_class,
            ids=ids,
        )
    assert classes(PostgresOverview(engine)) == [
        ("in_doubt", 2, 0, 2, 2),
        ("answered", 1, 1, 0, 0),
        ("unavailable", 1, 0, 0, 1),
        ("under_way", 1, 0, 0, 0),
    ]


def test_open_requests_are_told_apart_by_their_lease(
    engine: Engine, ledger: PostgresLedger, sql: Rows
) -> None:
    view = PostgresOverview(engine)
    ledger.claim([ask("a"), ask("b")], "1")
    leave_waiting(ledger, ask("c"))
    sql.age(5, "a")
    found = view.open_requests()
    assert found.pop("oldest") is not None
    assert found == {"working": 1, "waiting": 1, "lapsed": 1}
    assert [each["name"] for each in view.workers()] == ["one"]
    (today,) = view.today()
    assert (today["mode"], today["calls"], today["promised"]) == ("sandbox", 3, None)
