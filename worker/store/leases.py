"""Requests that nobody works on any more, and whose message may be gone.

A row holds no personal data, so no call can be made from here: what can be done without one is
done, and everything else waits for its message.
"""

import orjson
from sqlalchemy import Engine, text

from worker.core.outcome import ErrorKind
from worker.core.request import Mode
from worker.core.retry import MESSAGES
from worker.store.engine import execute
from worker.store.rows import CHARGED_AFTER_DOUBTS, DOUBTED, OPEN

# A crashed worker's message is delivered again within seconds and takes the row over; behind a
# backlog or in a retry queue it may take minutes, and then it finds the row as it left it.
LAPSED_SECONDS = 600.0
# A message that is on its way at the deadline is answered by the main line, not from here.
EXPIRED_SECONDS = 300.0

# By its age alone: one that is called again and again for weeks must end as well.
_ABANDONED = "requested_at < now() - make_interval(secs => CAST(:abandon_after AS float8))"

# `grants` grows, and the state leaves `working`: what a stale owner records under its old grant
# changes nothing and is answered with what the row says now. Everything is judged by the rows as
# they were locked; rows that somebody else has locked are theirs.
SETTLE = text(f"""
WITH lapsed AS (
  SELECT request_id, in_doubt_calls, charged, {_ABANDONED} AS abandoned,
         expires_at < now() - make_interval(secs => :expired_for) AS expired
    FROM verification.request AS r
   WHERE {OPEN} AND mode = :mode
     AND (state = 'working' AND lease_until < now() - make_interval(secs => :lapsed_for)
       OR state = 'waiting' AND (in_doubt_calls > :max_in_doubt
         OR :max_in_doubt = 0 AND charged <> 'no'
         OR expires_at < now() - make_interval(secs => :expired_for) OR {_ABANDONED}))
   ORDER BY request_id LIMIT :limit FOR NO KEY UPDATE OF r SKIP LOCKED
), doubted AS (
  UPDATE verification.provider_call AS c
     SET {DOUBTED}
    FROM lapsed
   WHERE c.request_id = lapsed.request_id AND c.finished_at IS NULL
  RETURNING c.request_id
), counted AS (
  SELECT request_id, charged, abandoned, expired, in_doubt_calls +
         (SELECT count(*) FROM doubted WHERE doubted.request_id = lapsed.request_id) AS doubts
    FROM lapsed
), judged AS (
  SELECT request_id, doubts,
         CASE WHEN doubts > :max_in_doubt OR :max_in_doubt = 0 AND charged <> 'no'
                OR expired AND (doubts > 0 OR charged <> 'no') THEN 'in_doubt'
              WHEN expired THEN 'expired'
              WHEN abandoned THEN 'message_lost' END AS kind
    FROM counted
)
UPDATE verification.request AS r
   SET state = CASE WHEN kind IS NULL THEN 'waiting' ELSE 'done' END,
       completed_at = CASE WHEN kind IS NOT NULL THEN now() END,
       outcome = CASE WHEN kind = 'expired' THEN kind WHEN kind IS NOT NULL THEN 'failed' END,
       error_kind = kind, error_message = CAST(:messages AS json) ->> kind,
       lease_owner = NULL, lease_until = NULL, grants = r.grants + 1, in_doubt_calls = doubts,
       charged = {CHARGED_AFTER_DOUBTS}
  FROM judged
 WHERE r.request_id = judged.request_id
RETURNING r.error_kind
""")


# What a worker with the message says in the same cases.
_MESSAGES = orjson.dumps({kind.value: words for kind, words in MESSAGES.items()}).decode()


class PostgresLeases:
    """Lapsed leases of one mode. Errors as of `ports.Ledger`.

    `abandon_after` is in seconds; None: a request waits for its message for ever. It must be
    longer than dead letters are kept, for until then a person may replay one.
    """

    def __init__(
        self, engine: Engine, mode: Mode, *, max_in_doubt_calls: int, abandon_after: float | None
    ) -> None:
        self._engine = engine
        limits = {"max_in_doubt": max_in_doubt_calls, "abandon_after": abandon_after}
        times = {"lapsed_for": LAPSED_SECONDS, "expired_for": EXPIRED_SECONDS}
        self._asked = {"mode": mode.value, "messages": _MESSAGES, **limits, **times}

    def settle_lapsed(self, limit: int) -> list[ErrorKind | None]:
        """Settle requests that nobody works on; say why each failed. None: it goes on waiting."""
        settled = execute(self._engine, SETTLE, **self._asked, limit=limit)
        return [None if kind is None else ErrorKind(kind) for (kind,) in settled]
