"""What a record did not find as its claim had left it: the owner came too late, or the row is gone.

A lease lapsed and somebody else took the request over, or an asynchronous failover has lost the
row or set it back. The call was made all the same and may be charged: it is booked in the ledger,
counts towards doubt and `charged`, and an answer ends the request, whoever works on it now.

This is rare, so it is many small statements in one transaction, under the locks of the rows.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

from sqlalchemy import Connection, Row, text

from worker.core.claims import AlreadyDone, Entry, FencedOut, HeldElsewhere, Recorded
from worker.core.outcome import (
    CallClass,
    Charged,
    Complete,
    Decision,
    ErrorKind,
    Outcome,
    Result,
    RetryLater,
    worse,
)
from worker.core.request import Mode
from worker.ports import LedgerContended
from worker.store import statements
from worker.store.claiming import read_rows
from worker.store.engine import run
from worker.store.rows import (
    DOUBTED,
    booked_call,
    claim_batch,
    not_claimed,
    record_batch,
    recorded_result,
)

# A row that is gone, as the claim had left it; then it is recorded like any other.
RESTORE = text(f"""
WITH restored AS (
  INSERT INTO verification.request (
    {statements.ASKED_COLUMNS}, mode, state, lease_owner, lease_until, grants, calls, attempts,
    in_doubt_calls, charged, requested_at)
  SELECT {statements.ASKED_COLUMNS}, :mode, 'working', :owner, now(), :grant_number, :calls,
    :attempts, :doubts, :charged, :requested_at
    FROM json_to_recordset(CAST(:batch AS json)) AS t({statements.ASKED})
  ON CONFLICT (request_id) DO NOTHING
  RETURNING request_id, source, check_type, published_at
)
INSERT INTO verification.provider_call (request_id, call_number, mode, worker, started_at, source,
  check_type, published_at)
SELECT request_id, :call_number, :mode, :owner, coalesce(:started_at, now()), source, check_type,
  published_at
  FROM restored WHERE CAST(:call_number AS int) IS NOT NULL
ON CONFLICT (request_id, call_number) DO NOTHING
""")

CALLS = text("""
SELECT request_id, call_number, worker, finished_at, class, charged, milliseconds
  FROM verification.provider_call WHERE request_id = ANY(CAST(:ids AS text[]))
""")

# The call that its worker reports: it is there, open or doubted, or it was lost with its row.
BOOK = text("""
INSERT INTO verification.provider_call (request_id, call_number, mode, worker, started_at,
  finished_at, class, http_status, status, provider_request_id, charged, sends, milliseconds,
  not_sent_because)
VALUES (:request_id, :call_number, :mode, :owner, coalesce(:started_at, now()), now(), :call_class,
  :call_http_status, :call_status, :call_request_id, :call_charged, :call_sends, :call_milliseconds,
  :call_not_sent_because)
ON CONFLICT (request_id, call_number) DO UPDATE
   SET finished_at = now(), class = excluded.class, http_status = excluded.http_status,
       status = excluded.status, provider_request_id = excluded.provider_request_id,
       charged = excluded.charged, sends = excluded.sends, milliseconds = excluded.milliseconds,
       not_sent_because = excluded.not_sent_because
""")

COUNT = text("""
UPDATE verification.request
   SET calls = :calls, in_doubt_calls = :doubts, charged = :charged
 WHERE request_id = :request_id
""")

# Who has the answer takes the request, and ends it with the record that follows. The call of who
# worked on it is in doubt until its worker reports it: if that has died, nobody else would end it.
ADOPT = text(f"""
WITH doubted AS (
  UPDATE verification.provider_call
     SET {DOUBTED}
   WHERE request_id = :request_id AND worker <> :owner AND finished_at IS NULL
  RETURNING 1
)
UPDATE verification.request
   SET state = 'working', lease_owner = :owner, lease_until = now(), grants = grants + 1,
       calls = :calls, in_doubt_calls = :doubts + (SELECT count(*) FROM doubted)
 WHERE request_id = :request_id
RETURNING grants
""")


Answers = dict[tuple[str, str], Recorded | FencedOut]
"""What became of entries, by `key_of`."""


def key_of(entry: Entry) -> tuple[str, str]:
    """Return an entry's key among those of its batch: a claim's owner has a request once."""
    return entry.granted.request_id, entry.granted.owner


def record(database: Connection, batch: Sequence[Entry], announced: Sequence[str] = ()) -> Answers:
    """Record those that are as their claims had left them; the others have no answer."""
    marks = {"batch": record_batch(batch), "announced": list(announced)}
    rows = {(row.request_id, row.owner): row for row in run(database, statements.RECORD, marks)}
    return {
        key: Recorded(recorded_result(each, rows[key]))
        for each in batch
        if (key := key_of(each)) in rows
    }


def book(database: Connection, mode: Mode, entries: Sequence[Entry]) -> Answers:
    """Book what a record left, in a transaction of its own; every entry has an answer."""
    entries = sorted(entries, key=lambda each: (each.granted.request_id, -each.granted.grant))
    for entry in entries:
        database.execute(RESTORE, {"mode": mode.value, **_as_claimed(entry)})
    answers = record(database, entries)
    for entry in [each for each in entries if key_of(each) not in answers]:
        adopted = _book(database, entry, _row(database, entry))
        if adopted is not None:
            answers |= record(database, [adopted])
        if key_of(entry) not in answers:
            answers[key_of(entry)] = _answer(database, adopted or entry)
    return answers


def _book(database: Connection, entry: Entry, row: Row[Any]) -> Entry | None:
    """Book a late call; return the entry that now ends the request, if it does."""
    report, owner = entry.report, entry.granted.owner
    calls = database.execute(CALLS, {"ids": [entry.granted.request_id]}).all()
    ours = next((each for each in calls if each.worker == owner), None)
    # What a worker itself reported has its milliseconds; a doubt of somebody else has none.
    if report is None or (ours is not None and ours.milliseconds is not None):
        return None
    if ours is None and report.sends == 0:
        return None
    others = [each for each in calls if each is not ours]
    number = max([row.calls, *(each.call_number for each in calls)]) + 1
    number = number if ours is None else ours.call_number
    call = {
        "request_id": row.request_id,
        "call_number": number,
        "mode": row.mode,
        "owner": owner,
        "started_at": entry.granted.read_at,
        **booked_call(report),
    }
    database.execute(BOOK, call)
    if row.state == "done":
        return None
    doubted = ours is not None and ours.finished_at is not None
    is_free = report.charged is Charged.NO and report.call_class is not CallClass.IN_DOUBT
    doubts = row.in_doubt_calls + (not is_free and not doubted) - (is_free and doubted)
    charges = [Charged(each.charged) for each in others if each.finished_at is not None]
    if doubts or not doubted or Charged(row.charged) is Charged.YES:
        charges.append(Charged(row.charged))
    counts: dict[str, object] = {
        "request_id": row.request_id,
        "calls": max(row.calls, number),
        "doubts": doubts,
    }
    charged = reduce(worse, charges, report.charged)
    if not isinstance(entry.decision, Complete) or report.sends == 0:
        database.execute(COUNT, {**counts, "charged": charged.value})
        return None
    if any(each.finished_at is None for each in others):
        charged = worse(charged, Charged.UNKNOWN)
    grant = database.execute(ADOPT, {**counts, "owner": owner}).scalar_one()
    before = Charged(row.charged)
    granted = replace(entry.granted, grant=grant, call_number=number, charged=before)
    result = replace(entry.decision.result, charged=charged)
    return replace(entry, granted=granted, decision=Complete(result))


def _answer(database: Connection, entry: Entry) -> Recorded | FencedOut:
    """Answer for a record that was committed before, and its answer lost, or that came late.

    After a failover another worker may have had the same grant: what it made of it is not ours.
    """
    row = _row(database, entry)
    now = not_claimed(row)
    if row.grants == entry.granted.grant and row.state != "working" and _is_of(entry.decision, now):
        return Recorded(now.stored if isinstance(now, AlreadyDone) else None)
    return FencedOut(now)


def _is_of(decision: Decision, now: AlreadyDone | HeldElsewhere) -> bool:
    """Return whether a decision makes of a row what it is now."""
    if isinstance(decision, RetryLater):
        return isinstance(now, HeldElsewhere)
    return isinstance(now, AlreadyDone) and _end(decision.result) == _end(now.stored.result)


def _end(result: Result) -> tuple[Outcome, ErrorKind | None]:
    return result.outcome, None if result.failure is None else result.failure.kind


def _row(database: Connection, entry: Entry) -> Row[Any]:
    row = read_rows(database, [entry.granted]).get(entry.granted.request_id)
    if row is None:
        raise LedgerContended("a row went away")
    return row


def _as_claimed(entry: Entry) -> dict[str, object]:
    granted = entry.granted
    return {
        "batch": claim_batch([entry.asked]),
        "owner": granted.owner,
        "grant_number": granted.grant,
        "call_number": granted.call_number,
        "calls": granted.calls,
        "attempts": granted.attempts,
        "doubts": granted.in_doubt_calls,
        "charged": granted.charged.value,
        "requested_at": granted.requested_at,
        "started_at": granted.read_at,
    }
