"""An invoice against a ledger in which every kind of disagreement stands once."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from tests.integration.store.upkeep import Rows
from worker.core.request import Mode
from worker.store.invoice import Finding, InvoiceLine, Reconciliation

DAY = datetime(2026, 11, 1, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)
Row = tuple[int | None, str | None, str | None, int | None]
"""Line, the provider's id, our request, its call."""


def call(
    engine: Engine,
    request_id: str,
    provider_id: str | None,
    charged: str = "yes",
    number: int = 1,
    *,
    hour: int = 12,
    mode: str = "live",
) -> None:
    values = {"request_id": request_id, "number": number, "mode": mode, "charged": charged}
    Rows(engine)(
        """INSERT INTO verification.provider_call (request_id, call_number, mode, worker,
             started_at, finished_at, class, provider_request_id, charged)
           VALUES (:request_id, :number, :mode, 'w', :at, :at, 'answered', :id, :charged)""",
        **values,
        at=DAY + timedelta(hours=hour),
        id=provider_id,
    )


def found(engine: Engine, ids: Sequence[str], mode: Mode = Mode.LIVE) -> dict[Finding, list[Row]]:
    """Return the findings of an invoice of these ids, a line each from 2 on."""
    with Reconciliation.begin(engine, mode) as desk:
        for line, each in enumerate(ids, 2):
            desk.add([InvoiceLine(line, each, DAY + timedelta(hours=12))])
        compared = desk.compare(DAY, NEXT)
        findings = {
            kind: [
                (one.line, one.provider_request_id, one.request_id, one.call_number)
                for one in desk.findings(kind)
            ]
            for kind in Finding
        }
    assert compared.billed == len(ids)
    assert {kind: len(rows) for kind, rows in findings.items() if rows} == compared.counts
    return {kind: rows for kind, rows in findings.items() if rows}


def test_an_invoice_that_agrees_finds_nothing(engine: Engine) -> None:
    call(engine, "a", "p-a")
    call(engine, "b", "p-b")
    call(engine, "free", "p-free", "no")
    call(engine, "other-day", "p-other", hour=36)
    call(engine, "test", "p-test", mode="sandbox")
    assert found(engine, ["p-b", "p-a"]) == {}
    assert found(engine, ["p-test"], Mode.SANDBOX) == {}


@pytest.mark.parametrize(
    ("ids", "kind", "rows"),
    [
        (["p-a", "p-x"], Finding.BILLED_UNKNOWN, [(3, "p-x", None, None)]),
        (["p-a", "p-test"], Finding.BILLED_UNKNOWN, [(3, "p-test", None, None)]),
        (["p-a", "p-free"], Finding.BILLED_FREE, [(3, "p-free", "free", 1)]),
        (["p-a", "p-a", "p-a"], Finding.BILLED_AGAIN, [(3, "p-a", "a", 1), (4, "p-a", "a", 1)]),
        (["p-a2", "p-a"], Finding.BILLED_SECOND_CALL, [(3, "p-a", "a", 1)]),
        ([], Finding.UNBILLED, [(None, "p-a", "a", 1)]),
    ],
)
def test_each_dispute_is_found_with_its_line_and_its_request(
    engine: Engine, ids: list[str], kind: Finding, rows: list[Row]
) -> None:
    call(engine, "a", "p-a")
    call(engine, "a", "p-a2", "no" if "p-a2" not in ids else "yes", 2)
    call(engine, "free", "p-free", "no")
    call(engine, "test", "p-test", mode="sandbox")
    assert found(engine, ids) == {kind: rows}


def test_calls_in_doubt_are_told_apart_by_what_is_known_of_them(engine: Engine) -> None:
    call(engine, "billed", "p-billed", "unknown")
    call(engine, "unbilled", "p-unbilled", "unknown")
    call(engine, "lost", None, "unknown")
    assert found(engine, ["p-billed"]) == {
        Finding.DOUBT_BILLED: [(None, "p-billed", "billed", 1)],
        Finding.DOUBT_UNBILLED: [(None, "p-unbilled", "unbilled", 1)],
        Finding.DOUBT_WITHOUT_ID: [(None, None, "lost", 1)],
    }


def test_the_invoices_own_time_ends_after_its_last_line(engine: Engine) -> None:
    with Reconciliation.begin(engine, Mode.LIVE) as desk:
        assert desk.span() is None
        desk.add([InvoiceLine(2, "a", NEXT), InvoiceLine(3, "b", DAY), InvoiceLine(4, "c", None)])
        span = desk.span()
    assert span is not None
    assert span[0] == DAY
    assert NEXT < span[1] < NEXT + timedelta(seconds=1)


def test_the_workers_role_may_compare_and_leaves_nothing_behind(as_worker: Engine) -> None:
    assert found(as_worker, ["p-x"]) == {Finding.BILLED_UNKNOWN: [(2, "p-x", None, None)]}
    assert found(as_worker, ["p-y"]) == {Finding.BILLED_UNKNOWN: [(2, "p-y", None, None)]}
