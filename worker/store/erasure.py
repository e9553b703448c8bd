"""Erasure: one person's requests lose all that is of the person, at once and for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from worker.store.engine import connection
from worker.store.retention import CLEARED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

# By the index on the subject, in both modes: erasure is a person's right, whoever was asked.
_OF_SUBJECTS = "subject_digest = ANY(CAST(:subjects AS bytea[]))"

FIND = text(f"""
SELECT count(*) FILTER (WHERE completed_at IS NULL) AS open,
       count(*) FILTER (WHERE completed_at IS NOT NULL AND event_sent_at IS NULL) AS unsent,
       count(*) FILTER (WHERE event_sent_at IS NOT NULL) AS erasable
  FROM verification.request WHERE {_OF_SUBJECTS}
""")  # noqa: S608  # made of our own constants alone

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
   SET {CLEARED},
       fingerprint = '', digest_key = NULL
 WHERE request_id = ANY(ARRAY(SELECT request_id FROM found))
RETURNING 1
""")  # noqa: S608  # made of our own constants alone

# Rows in one transaction: a person has a handful.
_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Found:
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

    def find(self, subjects: Sequence[bytes]) -> Found:
        """Count a person's requests; what age or an erasure has cleared is not found any more."""
        with connection(self._engine) as database:
            return Found(*database.execute(FIND, {"subjects": list(subjects)}).one())

    def erase(self, subjects: Sequence[bytes]) -> int:
        """Erase all that can be now, and return of how many requests."""
        erased = 0
        asked = {"subjects": list(subjects), "limit": _LIMIT}
        while True:
            with connection(self._engine) as database:
                count = len(database.execute(ERASE, asked).all())
            erased += count
            if count < _LIMIT:
                return erased
