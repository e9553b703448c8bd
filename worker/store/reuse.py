"""Answers that were paid for already: the same person, check type and data, not long ago.

Found by the subject's index and told by the fingerprint, so nothing is kept for it: a request whose
check type has no ID number is never answered from another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from worker.core.claims import AlreadyDone
from worker.store.rows import as_json, bytea, standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from worker.core.claims import ClaimRequest
    from worker.core.outcome import StoredResult
    from worker.core.request import Mode

# Only what was paid: to ask again for a person without a record costs nothing and may find one. And
# no answer that was given again itself: the window begins with the call. What is cleared or erased
# has no subject any more.
REUSABLE = text("""
SELECT DISTINCT ON (asked.wanted) asked.wanted, paid.*
  FROM json_to_recordset(CAST(:batch AS json)) AS asked(
         wanted text, subject bytea, fingerprint bytea)
 CROSS JOIN LATERAL (
         SELECT request_id, source, check_type, mode, state, calls, charged,
                context::text AS context, outcome, auth_success, auth_has_exception, auth_code,
                auth_message, auth_detail, provider_request_id, error_kind, error_message,
                error_fields, reused_from, requested_at, completed_at, settled_at
           FROM verification.request AS r
          WHERE r.subject_digest = asked.subject AND r.fingerprint = asked.fingerprint
            AND r.mode = :mode AND r.reused_from IS NULL
            AND r.outcome IN ('match', 'mismatch')
            AND r.completed_at > now() - make_interval(secs => :within)) AS paid
 ORDER BY asked.wanted, paid.completed_at DESC
""")


def reusable(
    database: Connection, batch: Sequence[ClaimRequest], mode: Mode, within: float
) -> dict[str, StoredResult]:
    """Return, by the id that asks, the newest answer that was paid for `within` seconds."""
    asked: list[dict[str, object]] = [
        {
            "wanted": each.request_id,
            "subject": bytea(digest.subject),
            "fingerprint": bytea(digest.fingerprint),
        }
        for each in batch
        if each.wants_call
        for digest in each.digests
        if digest.subject is not None
    ]
    if not asked:
        return {}
    found = {"batch": as_json(asked), "mode": mode.value, "within": within}
    done = {row.wanted: standing(row) for row in database.execute(REUSABLE, found)}
    return {wanted: each.stored for wanted, each in done.items() if isinstance(each, AlreadyDone)}
