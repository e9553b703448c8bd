"""Lapsed leases: what is settled without a message, and what a late one finds."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.fakes.messages import ask, deliver, request
from tests.fakes.verifier import FakeVerifier
from tests.integration.store.conftest import ledger_of
from tests.integration.store.test_schema import flow_over
from tests.integration.store.upkeep import DAY, Rows, leave_waiting, locked, past, race
from worker.core.claims import AlreadyDone, Granted, HeldElsewhere
from worker.core.outcome import Charged, ErrorKind
from worker.core.request import Mode
from worker.core.retry import in_doubt
from worker.store.leases import PostgresLeases
from worker.store.ledger import PostgresLedger

# A lease of these tests holds one minute, so after eleven it counts as lapsed.
SOON, LAPSED = 6.0, 16.0

Settle = Callable[..., list[ErrorKind | None]]


@pytest.fixture
def settle(engine: Engine) -> Settle:
    """Settle lapsed requests of this mode; a message is lost after 30 days."""

    def run(limit: int = 100, **options: Any) -> list[ErrorKind | None]:
        usual: dict[str, Any] = {"max_in_doubt_calls": 1, "abandon_after": 30 * DAY}
        return PostgresLeases(engine, Mode.SANDBOX, **(usual | options)).settle_lapsed(limit)

    return run


def test_a_lapsed_lease_leaves_a_call_in_doubt_and_a_request_that_waits(
    ledger: PostgresLedger, sql: Rows, settle: Settle
) -> None:
    ledger.claim([ask()], "1")
    sql.age(LAPSED)
    assert settle() == [None]
    found = sql.request()
    assert (found["state"], found["in_doubt_calls"], found["charged"]) == ("waiting", 1, "unknown")
    assert (found["lease_owner"], found["lease_until"], found["grants"]) == (None, None, 2)
    assert sql.calls() == [(1, "in_doubt", "unknown")]
    assert settle() == []
    # Its message does come after all.
    (claim,) = ledger.claim([ask()], "2")
    assert isinstance(claim, Granted)
    assert (claim.call_number, claim.in_doubt_calls, claim.charged) == (2, 1, Charged.UNKNOWN)
    assert sql.calls() == [(1, "in_doubt", "unknown"), (2, None, "unknown")]


def test_a_lease_that_holds_or_lapsed_a_moment_ago_or_of_the_other_mode_is_left(
    ledger: PostgresLedger, engine: Engine, sql: Rows, settle: Settle
) -> None:
    ledger_of(engine, mode=Mode.LIVE).claim([ask("other-mode")], "1")
    ledger.claim([ask("moment-ago")], "1")
    sql.age(LAPSED, "other-mode")
    sql.age(SOON, "moment-ago")
    ledger.claim([ask("holds")], "2")
    assert settle() == []
    assert {each["state"] for each in sql("SELECT state FROM verification.request")} == {"working"}


def test_a_request_with_too_many_calls_in_doubt_fails_without_its_message(
    ledger: PostgresLedger, sql: Rows, settle: Settle
) -> None:
    ledger.claim([ask()], "1")
    sql.age(LAPSED)
    assert settle(max_in_doubt_calls=0) == [ErrorKind.IN_DOUBT]
    (claim,) = ledger.claim([ask()], "2")
    assert isinstance(claim, AlreadyDone)
    assert claim.stored.result == in_doubt().result
    assert sql.calls() == [(1, "in_doubt", "unknown")]


@pytest.mark.parametrize(
    ("doubt", "charged"), [(True, "unknown"), (False, "unknown"), (False, "no")]
)
def test_a_request_that_waits_ends_where_another_limit_lets_no_call_follow_a_doubt(
    ledger: PostgresLedger, sql: Rows, settle: Settle, doubt: bool, charged: str
) -> None:
    leave_waiting(ledger, ask(), doubt=doubt)
    sql("UPDATE verification.request SET charged = :charged", charged=charged)
    assert settle(max_in_doubt_calls=1) == []
    assert settle(max_in_doubt_calls=0) == ([ErrorKind.IN_DOUBT] if charged == "unknown" else [])


@pytest.mark.parametrize(
    ("minutes_ago", "doubt", "kind"),
    [
        (1.0, False, None),  # its message may be on its way
        (-60.0, False, None),
        (6.0, False, ErrorKind.EXPIRED),
        (6.0, True, ErrorKind.IN_DOUBT),  # `expired` would say unpaid
    ],
)
def test_a_waiting_request_ends_five_minutes_after_its_deadline(
    ledger: PostgresLedger,
    sql: Rows,
    settle: Settle,
    minutes_ago: float,
    doubt: bool,
    kind: ErrorKind | None,
) -> None:
    leave_waiting(ledger, ask(expires_at=past(minutes_ago)), doubt=doubt)
    assert settle() == ([] if kind is None else [kind])
    found = sql.request()
    assert found["error_kind"] == kind
    assert found["state"] == ("waiting" if kind is None else "done")
    assert found["charged"] == ("unknown" if doubt else "no")


def test_a_lapsed_request_with_a_call_under_way_at_its_deadline_is_in_doubt_and_not_expired(
    ledger: PostgresLedger, sql: Rows, settle: Settle
) -> None:
    ledger.claim([ask(expires_at=past(-1))], "1")
    sql.age(LAPSED)
    sql("UPDATE verification.request SET expires_at = now() - interval '6 minutes'")
    assert settle() == [ErrorKind.IN_DOUBT]


def test_an_expired_request_is_told_in_the_words_of_the_main_line(
    ledger: PostgresLedger, sql: Rows, settle: Settle
) -> None:
    flow = flow_over(ledger, FakeVerifier())
    on_time = request("main-line", expiresAt="2020-01-01T00:00:00Z")
    flow.record(flow.admit([deliver(on_time)], "1").finished, [])
    leave_waiting(ledger, ask("settled", expires_at=past(6)))
    settle()
    told = ("outcome", "error_kind", "error_message", "charged", "state")
    assert [sql.request("settled")[each] for each in told] == [
        sql.request("main-line")[each] for each in told
    ]


@pytest.mark.parametrize("waits", [True, False], ids=["waiting", "working"])
@pytest.mark.parametrize(
    ("days_since_request", "days_since_call", "abandon_after", "kind"),
    [
        (31, 31, 30 * DAY, ErrorKind.MESSAGE_LOST),
        (31, 29, 30 * DAY, ErrorKind.MESSAGE_LOST),  # however often it is called
        (29, 29, 30 * DAY, None),
        (400, 400, None, None),  # never
    ],
)
def test_a_request_that_is_open_for_so_long_has_lost_its_message(
    ledger: PostgresLedger,
    sql: Rows,
    settle: Settle,
    waits: bool,
    days_since_request: int,
    days_since_call: int,
    abandon_after: float | None,
    kind: ErrorKind | None,
) -> None:
    if waits:
        leave_waiting(ledger, ask())
    else:
        ledger.claim([ask()], "1")
    sql.age(days_since_request * 24 * 60)
    sql(
        "UPDATE verification.provider_call SET started_at = now() - make_interval(days => :days)",
        days=days_since_call,
    )
    settled = settle(abandon_after=abandon_after)
    assert settled == ([] if waits and kind is None else [kind])
    found = sql.request()
    assert found["outcome"] == (None if kind is None else "failed")
    assert found["error_message"] == (None if kind is None else "its message never came back")
    assert found["charged"] == ("no" if waits else "unknown")


def test_a_batch_is_bounded_and_a_locked_row_is_passed_over(
    ledger: PostgresLedger, engine: Engine, settle: Settle, sql: Rows
) -> None:
    ledger.claim([ask(f"onb-{number}") for number in range(5)], "1")
    sql.age(LAPSED)
    with locked(engine, "onb-0"):
        assert len(settle(limit=3)) == 3
        assert len(settle(limit=3)) == 1
    assert settle(limit=0) == []
    assert len(settle(limit=3)) == 1


def test_settlers_and_takers_over_at_once_agree_on_every_doubt(
    ledger: PostgresLedger, database_url: str, sql: Rows
) -> None:
    """Whoever comes first doubts the call; the other finds it doubted. Nobody waits for ever."""
    ids = [f"onb-{number:03d}" for number in range(200)]
    ledger.claim([ask(each) for each in ids], "1")
    sql.age(LAPSED)

    def work(own: Engine, racer: int) -> int:
        if racer % 2:
            mine = PostgresLeases(own, Mode.SANDBOX, max_in_doubt_calls=1, abandon_after=None)
            for _ in range(20):
                mine.settle_lapsed(10)
            return 0
        other = ledger_of(own, f"taker-{racer}")
        granted = 0
        for first in range(0, len(ids), 20):
            batch = [ask(each) for each in ids[first : first + 20]]
            claims = other.claim(batch, str(first))
            assert all(isinstance(each, Granted | HeldElsewhere) for each in claims)
            granted += sum(isinstance(each, Granted) for each in claims)
        return granted

    assert sum(race(database_url, work)) == len(ids)
    assert sql("SELECT DISTINCT state, in_doubt_calls AS doubts FROM verification.request") == [
        {"state": "working", "doubts": 1}
    ]
    assert Counter(
        each["class"] for each in sql("SELECT class FROM verification.provider_call")
    ) == {"in_doubt": len(ids), None: len(ids)}
