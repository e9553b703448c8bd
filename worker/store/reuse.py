"""Requests of the same person, check type and data: one is paid, and the others get its answer.

A paid answer is found by the index on the subject and recognised by the fingerprint, so nothing
more is stored for it; and a request whose check type has no ID number is never answered this way.
While one of them is being asked the others wait for it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, text

from worker.core.claims import Claim, ClaimRequest, Granted, HeldElsewhere
from worker.core.outcome import StoredResult
from worker.core.request import Mode
from worker.store.rows import RESULT_COLUMNS, as_json, bytea, stored_result

# Claims of the same data come one after the other, so that the later one sees what the first did.
# In order, so that two batches cannot wait for each other; and the server ends the transaction of a
# worker that freezes here.
LOCK_DATA = text("""
SELECT pg_advisory_xact_lock(key), set_config('idle_in_transaction_session_timeout', '3s', true)
  FROM unnest(CAST(:keys AS bigint[])) AS key
""")

# Only what was paid: to ask again for a person without a record costs nothing and may find one. And
# no answer that was given again itself: the window begins with the call. What is cleared or erased
# has no subject any more.
REUSABLE = text(f"""
SELECT DISTINCT ON (asked.wanted) asked.wanted, paid.*
  FROM json_to_recordset(CAST(:batch AS json)) AS asked(
         wanted text, subject bytea, fingerprint bytea)
 CROSS JOIN LATERAL (
         SELECT {RESULT_COLUMNS}
           FROM verification.request AS r
          WHERE r.subject_digest = asked.subject AND r.fingerprint = asked.fingerprint
            AND r.mode = :mode AND r.reused_from IS NULL
            AND r.outcome IN ('match', 'mismatch')
            AND r.completed_at > now() - make_interval(secs => :within)) AS paid
 ORDER BY asked.wanted, paid.completed_at DESC
""")

# Who is asked already: somebody works on it, or it waits for another attempt; not one whose message
# has been due for a minute, for it may be gone. Of two that wait the older one goes first.
ASKED = text("""
SELECT DISTINCT asked.wanted
  FROM json_to_recordset(CAST(:batch AS json)) AS asked(
         wanted text, subject bytea, fingerprint bytea)
  JOIN verification.request AS r
    ON r.subject_digest = asked.subject AND r.fingerprint = asked.fingerprint
  LEFT JOIN verification.request AS own ON own.request_id = asked.wanted
 WHERE r.request_id <> asked.wanted AND r.mode = :mode AND r.completed_at IS NULL
   AND own.completed_at IS NULL
   AND CASE WHEN r.state = 'working' THEN r.lease_until > now() AND r.calls > 0
            ELSE r.due_at > now() - interval '1 minute'
                 AND (own.request_id IS NULL
                      OR (r.requested_at, r.request_id) < (own.requested_at, own.request_id)) END
""")


@dataclass(frozen=True, slots=True)
class SameData:
    """What is known of the data of a batch's requests, by their ids."""

    paid: Mapping[str, StoredResult] = field(default_factory=dict)
    asked: Collection[str] = ()
    """Those that wait for another one's answer."""

    def left(self, batch: Sequence[ClaimRequest]) -> list[ClaimRequest]:
        """Return those that are to be claimed: without a call where an answer is paid."""
        return [
            replace(each, wants_call=False) if each.request_id in self.paid else each
            for each in batch
            if each.request_id not in self.asked
        ]

    def added(self, batch: Sequence[ClaimRequest], claims: Mapping[str, Claim]) -> list[Claim]:
        """Return the claims of the whole batch, in its order."""
        return [
            HeldElsewhere()
            if each.request_id in self.asked
            else self._with_answer(claims[each.request_id])
            for each in batch
        ]

    def _with_answer(self, claim: Claim) -> Claim:
        if isinstance(claim, Granted) and claim.call_number is None:
            return replace(claim, reuse=self.paid.get(claim.request_id))
        return claim


def look_up(
    database: Connection, batch: Sequence[ClaimRequest], mode: Mode, within: float
) -> SameData:
    """Return what was paid `within` seconds and what is being asked; lock the data meanwhile."""
    asking = [each for each in batch if each.wants_call]
    digests = [
        (each.request_id, digest)
        for each in asking
        for digest in each.digests
        if digest.subject is not None
    ]
    if not digests:
        return SameData()
    rows: list[dict[str, object]] = [
        {"wanted": wanted, "subject": bytea(of.subject), "fingerprint": bytea(of.fingerprint)}
        for wanted, of in digests
    ]
    keys = {int.from_bytes(of.fingerprint[:8], signed=True) for _, of in digests}
    database.execute(LOCK_DATA, {"keys": sorted(keys)})
    known = {"batch": as_json(rows), "mode": mode.value}
    # In this order: one that ends between the two is held or paid, in the other one neither.
    held = set(database.execute(ASKED, known).scalars())
    found = database.execute(REUSABLE, {**known, "within": within})
    paid = {row.wanted: stored_result(row) for row in found}
    first: dict[bytes, str] = {}
    for each in asking:
        if each.digest.subject is None or each.request_id in held or each.request_id in paid:
            continue
        if first.setdefault(each.digest.fingerprint, each.request_id) != each.request_id:
            held.add(each.request_id)
    return SameData(paid, held - paid.keys())
