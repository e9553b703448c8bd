"""The row in which all workers share the quota (`store.quota`).

Each mode has one. A claim locks it before any other row and keeps it until its commit, so that the
limits hold over all replicas, to the call, with nothing but the database.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

from worker.core.claims import Entry
from worker.core.request import Lane, Mode
from worker.store.quota import Quota, QuotaState
from worker.store.rows import TODAY

# `clock_timestamp()` stands outside the CTE: in it the time would be read before the wait for the
# lock. A worker that freezes here would hold up all others, so the server ends its transaction.
# Workers without lanes begin a new day without `bulk_day`.
LOCK_QUOTA = text("""
WITH locked AS MATERIALIZED (
  SELECT next_call_at, day, calls_today, live_at, bulk_credit,
         CASE WHEN bulk_day = day THEN bulk_calls ELSE 0 END AS bulk_calls
    FROM verification.call_quota
   WHERE mode = :mode FOR NO KEY UPDATE
)
SELECT clock_timestamp() AS now, *,
       set_config('idle_in_transaction_session_timeout', '3s', true)
  FROM locked
""")

OPEN_QUOTA = text(f"""
INSERT INTO verification.call_quota (mode, next_call_at, day)
VALUES (:mode, now(), {TODAY})
ON CONFLICT (mode) DO NOTHING
""")

# Which calls of these claims count on the quota's day. Asked when its row is locked: whoever has
# returned one of their tokens has committed it.
TOKENS_HELD = text("""
SELECT count(*) AS calls, count(*) FILTER (WHERE bulk) AS bulk
  FROM unnest(CAST(:ids AS text[]), CAST(:owners AS text[]), CAST(:bulk AS bool[]))
       AS e(request_id, owner, bulk)
  JOIN verification.provider_call AS c ON c.request_id = e.request_id AND c.worker = e.owner
 WHERE c.class IS DISTINCT FROM 'not_sent'
   AND (c.started_at AT TIME ZONE 'Asia/Shanghai')::date =
       (SELECT day FROM verification.call_quota WHERE mode = :mode)
""")

RETURN_TOKENS = text("""
UPDATE verification.call_quota
   SET calls_today = greatest(0, calls_today - :calls), bulk_calls = greatest(0, bulk_calls - :bulk)
 WHERE mode = :mode
""")

SAVE_QUOTA = text("""
UPDATE verification.call_quota
   SET next_call_at = :next_call_at, day = :day, calls_today = :calls_today, live_at = :live_at,
       bulk_credit = :bulk_credit, bulk_day = :day, bulk_calls = :bulk_calls
 WHERE mode = :mode
""")


def lock_quota(database: Connection, quota: Quota, mode: Mode) -> QuotaState:
    """Lock a mode's row until the transaction ends and return where it stands."""
    row = database.execute(LOCK_QUOTA, {"mode": mode.value}).one_or_none()
    if row is None:
        database.execute(OPEN_QUOTA, {"mode": mode.value})
        row = database.execute(LOCK_QUOTA, {"mode": mode.value}).one()
    *stands, _timeout = row
    return QuotaState(quota, *stands).renewed()


def tokens_held(database: Connection, entries: Sequence[Entry], mode: Mode) -> Row[Any]:
    """Return how many `calls` of these entries count on the quota's day, and those of `bulk`."""
    asked = {
        "ids": [each.granted.request_id for each in entries],
        "owners": [each.granted.owner for each in entries],
        "bulk": [each.asked.lane is Lane.BULK for each in entries],
    }
    return database.execute(TOKENS_HELD, {**asked, "mode": mode.value}).one()


def return_tokens(database: Connection, before: Row[Any], after: Row[Any], mode: Mode) -> None:
    """Let calls that were not sent after all count no more; the row is locked."""
    if before.calls > after.calls:
        returned = {"calls": before.calls - after.calls, "bulk": before.bulk - after.bulk}
        database.execute(RETURN_TOKENS, {**returned, "mode": mode.value})


def save_quota(database: Connection, state: QuotaState, mode: Mode) -> None:
    """Write a locked row back."""
    today = {"day": state.day, "calls_today": state.calls_today, "bulk_calls": state.bulk_calls}
    lanes = {"live_at": state.live_at, "bulk_credit": state.bulk_credit}
    values = {"mode": mode.value, "next_call_at": state.next_call_at, **today, **lanes}
    database.execute(SAVE_QUOTA, values)
