"""Finished requests lose what is about a person, and later their rows: with age, or on demand.

With age (retention) each mode's workers treat their own rows: test data may be deleted after a day.
An erasure is of one person, whose requests lose all that is of the person, at once and for good.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, TextClause, text

from worker.core.request import Mode
from worker.store.engine import execute
from worker.store.rows import KEPT, OPEN, UNSENT

# Masks, digest, the publisher's own object and texts from outside.
_CLEARED = """
       cleared_at = now(), subject_digest = NULL, masked_name = NULL, masked_id_card = NULL,
       masked_bankcard = NULL, masked_mobile = NULL, masked_portrait = NULL, context = NULL,
       auth_message = NULL, auth_detail = NULL, error_fields = NULL, reply_to = NULL,
       correlation_id = NULL, traceparent = NULL"""

_OLD = """SELECT request_id FROM verification.request
   WHERE completed_at < now() - make_interval(secs => :older_than) AND mode = :mode"""

# An event that was not sent is made of the row: it stays whole until then.
CLEAR = text(f"""
WITH old AS (
  {_OLD} AND {KEPT}
   ORDER BY completed_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE verification.request SET {_CLEARED}
 WHERE request_id = ANY(ARRAY(SELECT request_id FROM old))
RETURNING 1
""")

# Two look-ups because there are two indexes; the second takes what room the first has left. Rows
# are named by arrays: for a join the planner, who does not know that room, reads whole tables.
DELETE = text(f"""
WITH kept AS (
  {_OLD} AND {KEPT}
   ORDER BY completed_at LIMIT :limit FOR UPDATE SKIP LOCKED
), cleared AS (
  {_OLD} AND cleared_at IS NOT NULL
   ORDER BY completed_at LIMIT :limit - (SELECT count(*) FROM kept) FOR UPDATE SKIP LOCKED
), old AS (
  SELECT request_id FROM kept UNION ALL SELECT request_id FROM cleared
), days AS (
  DELETE FROM verification.turned_away
   WHERE day < ((now() - make_interval(secs => :older_than)) AT TIME ZONE 'Asia/Shanghai')::date
     AND mode = :mode
), calls AS (
  DELETE FROM verification.provider_call WHERE request_id = ANY(ARRAY(SELECT request_id FROM old))
)
DELETE FROM verification.request WHERE request_id = ANY(ARRAY(SELECT request_id FROM old))
RETURNING 1
""")

# By the index on the subject, in both modes: erasure is a person's right, whoever was asked.
_OF_SUBJECTS = "subject_digest = ANY(CAST(:subjects AS bytea[]))"

FIND = text(f"""
SELECT count(*) FILTER (WHERE {OPEN}) AS open,
       count(*) FILTER (WHERE {UNSENT}) AS unsent,
       count(*) FILTER (WHERE event_sent_at IS NOT NULL) AS erasable
  FROM verification.request WHERE {_OF_SUBJECTS}
""")

# An open request needs its digests until it ends, and an event that was not sent is made of its
# row. The fingerprint goes as well, unlike with age: it is of the person's data. An empty one fits
# no message, so a request that comes again is answered `conflict`, and not paid.
ERASE = text(f"""
WITH found AS (
  SELECT request_id FROM verification.request
   WHERE {_OF_SUBJECTS} AND event_sent_at IS NOT NULL
   ORDER BY request_id LIMIT :limit FOR NO KEY UPDATE
)
UPDATE verification.request
   SET {_CLEARED},
       fingerprint = '', digest_key = NULL
 WHERE request_id = ANY(ARRAY(SELECT request_id FROM found))
RETURNING 1
""")

# Rows in one transaction: a person has a handful.
_LIMIT = 500


class PostgresRetention:
    """Retention for one mode. Both return how many requests they treated, `limit` at most."""

    def __init__(self, engine: Engine, mode: Mode) -> None:
        self._engine = engine
        self._mode = mode

    def clear_personal(self, older_than: float, limit: int) -> int:
        """Clear what is about a person of requests that ended so many seconds ago."""
        return self._count(CLEAR, older_than, limit)

    def delete(self, older_than: float, limit: int) -> int:
        """Delete requests and their calls that ended so many seconds ago."""
        return self._count(DELETE, older_than, limit)

    def _count(self, statement: TextClause, older_than: float, limit: int) -> int:
        asked = {"older_than": older_than, "mode": self._mode.value, "limit": limit}
        return len(execute(self._engine, statement, **asked))


@dataclass(frozen=True, slots=True)
class RequestsOfPerson:
    """How many requests of a person stand in the tables with what is of the person."""

    open: int
    """Without an outcome: erased after it."""
    unsent: int
    """With an outcome whose event is not known to be sent: erased after it is."""
    erasable: int


class PostgresErasure:
    """Erases persons by their subject digests (32 bytes each). Errors as of `ports.Ledger`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, subjects: Sequence[bytes]) -> RequestsOfPerson:
        """Count a person's requests; what age or an erasure has cleared is not found any more."""
        (counts,) = execute(self._engine, FIND, subjects=list(subjects))
        return RequestsOfPerson(*counts)

    def erase(self, subjects: Sequence[bytes]) -> int:
        """Erase all that can be now, and return of how many requests."""
        erased = 0
        while True:
            count = len(execute(self._engine, ERASE, subjects=list(subjects), limit=_LIMIT))
            erased += count
            if count < _LIMIT:
                return erased
