"""The ledger's SQL: one statement for a claim, one for a record, each its own transaction.

Requests that are known need a second statement for the claim.

Where calls are limited, a claim is several in one transaction, and the quota's row comes first.

A batch travels as one JSON array: one parameter instead of thirty arrays, and its text never
changes, so PostgreSQL keeps the plan. Rows are sorted by id wherever several are locked, so that
two workers cannot wait for each other.
"""

from sqlalchemy import text

from worker.store.engine import compiled
from worker.store.rows import CHARGED_AFTER_DOUBTS, DOUBTED, RESULT_COLUMNS

# What a row keeps of its message, as it stands in a batch (`rows.claim_batch`).
ASKED = """request_id text, fingerprint bytea, digest_key text, source text, check_type smallint,
    subject_digest bytea, masked_name text, masked_id_card text, masked_bankcard text,
    masked_mobile text, masked_portrait text, context json, reply_to text, correlation_id text,
    traceparent text, expires_at timestamptz, published_at timestamptz, lane text"""
ASKED_COLUMNS = ", ".join(each.split()[0] for each in ASKED.split(","))

# New requests alone: whether a known one may be taken is TAKE_OVER's to say. An id that another
# transaction inserts at this moment is waited for, and is a known one then.
CLAIM = compiled(f"""
WITH asked AS (
  SELECT *, (wants_call AND (expires_at IS NULL OR expires_at > now()))::int AS calls
    FROM json_to_recordset(CAST(:batch AS json)) AS t({ASKED}, wants_call boolean)
   ORDER BY request_id
), claimed AS (
  INSERT INTO verification.request (
    {ASKED_COLUMNS}, mode, state, lease_owner, lease_until, grants, calls)
  SELECT {ASKED_COLUMNS}, :mode, 'working', :owner, now() + make_interval(secs => :lease), 1, calls
    FROM asked
  ON CONFLICT (request_id) DO NOTHING
  RETURNING request_id, lease_owner, grants, attempts, calls, in_doubt_calls, charged, requested_at,
    source, check_type, published_at, calls > 0 AS may_call, now() AS read_at
), intents AS (
  INSERT INTO verification.provider_call (request_id, call_number, mode, worker, source, check_type,
    published_at)
  SELECT request_id, calls, :mode, :owner, source, check_type, published_at
    FROM claimed WHERE may_call
)
SELECT request_id, lease_owner, grants, attempts, calls, in_doubt_calls, charged, requested_at,
  may_call, read_at
  FROM claimed
""")

# Whether another call may follow by what the calls before it were charged: none follows one that is
# known to be paid.
_MAY_FOLLOW = "(r.charged = 'no' OR :max_in_doubt > 0 AND r.charged <> 'yes')"

# What is known and may be had: it waits and is due or needs no call, or its lease has lapsed. Where
# a request stands is read and the next call intended in this one statement, under the row's lock:
# what a late owner records comes before it or after it. A call without an end is in doubt from now
# on, and the next call is intended only while doubt has not used up its limit; with a limit of 0,
# only while no call may have been charged. A batch takes nothing over from itself, but for `again`:
# then its own rows, to intend the call that its first try did not want.
TAKE_OVER = text(f"""
WITH asked AS (
  SELECT *, wants_call AND (expires_at IS NULL OR expires_at > now()) AS wanted
    FROM json_to_recordset(CAST(:batch AS json)) AS t(
    request_id text, fingerprint bytea, wants_call boolean, expires_at timestamptz)
), locked AS (
  SELECT r.request_id, asked.wanted
    FROM asked JOIN verification.request AS r USING (request_id)
   WHERE r.request_id = ANY(ARRAY(SELECT request_id FROM asked))
     AND r.fingerprint = asked.fingerprint AND r.mode = :mode
     AND CASE WHEN r.lease_owner = :owner THEN :again AND r.state = 'working'
              WHEN r.state = 'working' THEN r.lease_until < now()
              ELSE r.state = 'waiting' AND (NOT asked.wanted OR r.due_at IS NULL
                                            OR r.due_at < now() + make_interval(secs => :slack)) END
   ORDER BY r.request_id FOR NO KEY UPDATE OF r
), doubted AS (
  UPDATE verification.provider_call AS c
     SET {DOUBTED}
    FROM locked
   WHERE c.request_id = locked.request_id AND c.finished_at IS NULL
  RETURNING c.request_id
), counted AS (
  SELECT locked.request_id, wanted, count(doubted.request_id) AS doubts
    FROM locked
    LEFT JOIN doubted USING (request_id)
   GROUP BY 1, 2
), updated AS (
  UPDATE verification.request AS r
     SET state = 'working', lease_owner = :owner, due_at = NULL,
         lease_until = now() + make_interval(secs => :lease),
         grants = r.grants + (r.lease_owner IS DISTINCT FROM :owner)::int,
         in_doubt_calls = r.in_doubt_calls + doubts,
         charged = {CHARGED_AFTER_DOUBTS},
         calls = r.calls + (wanted AND r.in_doubt_calls + doubts <= :max_in_doubt
                            AND {_MAY_FOLLOW})::int
    FROM counted
   WHERE r.request_id = counted.request_id
  RETURNING r.request_id, lease_owner, grants, attempts, calls, in_doubt_calls, r.charged,
    requested_at, source, check_type, published_at, now() AS read_at,
    wanted AND in_doubt_calls <= :max_in_doubt
           AND {_MAY_FOLLOW} AS may_call
), intents AS (
  INSERT INTO verification.provider_call (request_id, call_number, mode, worker, source, check_type,
    published_at)
  SELECT request_id, calls, :mode, :owner, source, check_type, published_at
    FROM updated WHERE may_call
)
SELECT * FROM updated
""")

# A row under another key than ours comes under ours when its message comes again: only then is the
# person's data here to make the digests of. Where another one was faster, or erased the person, the
# row stays as it is. Of a message that is refused there is no subject: the former one is kept.
REKEY = text("""
UPDATE verification.request AS r
   SET fingerprint = e.fingerprint, digest_key = e.digest_key,
       subject_digest = coalesce(e.subject_digest, r.subject_digest)
  FROM json_to_recordset(CAST(:batch AS json)) AS e(
    request_id text, former bytea, fingerprint bytea, subject_digest bytea, digest_key text)
 WHERE r.request_id = e.request_id AND r.fingerprint = e.former
""")

# What lies further ahead than any worker sets it: the database's clock was set back. A minute is
# left of it, long enough for who works on the request to end it.
CAP = text("""
UPDATE verification.request
   SET lease_until = CASE WHEN state = 'working' THEN now() + interval '1 minute' END,
       due_at = CASE WHEN state = 'waiting' THEN now() + interval '1 minute' END
 WHERE request_id = ANY(CAST(:ids AS text[]))
   AND (state = 'working' AND lease_until > now() + make_interval(secs => :lease)
     OR state = 'waiting' AND due_at > now() + make_interval(secs => :delay))
RETURNING 1
""")

# A batch that is claimed again under its own token works under a whole lease again. Where its own
# intent is written down, it may already call.
RENEW = text("""
UPDATE verification.request AS r SET lease_until = now() + make_interval(secs => :lease)
 WHERE request_id = ANY(CAST(:ids AS text[])) AND lease_owner = :owner AND state = 'working'
RETURNING request_id,
  EXISTS (SELECT FROM verification.provider_call AS c
           WHERE c.request_id = r.request_id AND c.worker = :owner AND c.finished_at IS NULL)
    AS intended
""")

READ = text(f"""
SELECT {RESULT_COLUMNS},
       fingerprint, digest_key, lease_owner, lease_until, due_at, grants, attempts, in_doubt_calls,
       now() AS read_at
  FROM verification.request WHERE request_id = ANY(CAST(:ids AS text[]))
""")

# Each update has an order of its own, and two workers that announce the same results would wait
# for each other. So all rows are locked first, in their order: a count of the locked is known
# before an update begins, and costs it nothing.
# A row is recorded only for who holds it: owner and grant, for a row that an asynchronous failover
# set back may be granted under the same number to somebody else. What is not recorded here is
# booked (`store.booking`).
# Where somebody has booked another call meanwhile, the row's charge is not what the claim found:
# then the worst of it and of this call counts. The words of a charge sort by how bad they are.
# An intent that was not even tried (`call_sends` is 0) is no call: it goes. One that has another
# number after it stays as a call that was not sent, for the next one is numbered by their count.
# A row with a lease is one that is `working`, and one with an outcome is completed (constraints).
# The planner takes rows of one state for few, and has an index of completed rows: by these names it
# would look through all of them.
RECORD = compiled("""
WITH entries AS (
  SELECT * FROM json_to_recordset(CAST(:batch AS json)) AS t(
    request_id text, owner text, grant_number int, charged_before text, charged text, outcome text,
    counted int, doubted int, delay int,
    auth_success boolean, auth_has_exception boolean, auth_code text, auth_message text,
    auth_detail text, provider_request_id text, error_kind text, error_message text,
    error_fields json, reused_from text, call_number int, call_class text,
    call_http_status smallint, call_status text, call_request_id text, call_charged text,
    call_sends int, call_milliseconds bigint, call_not_sent_because text)
), locked AS (
  SELECT request_id FROM verification.request
   WHERE request_id = ANY(ARRAY(SELECT request_id FROM entries) || CAST(:announced AS text[]))
   ORDER BY request_id FOR NO KEY UPDATE
), recorded AS (
  UPDATE verification.request AS r
     SET state = CASE WHEN e.outcome IS NULL THEN 'waiting' ELSE 'done' END,
         completed_at = CASE WHEN e.outcome IS NULL THEN NULL ELSE now() END,
         lease_owner = NULL, lease_until = NULL, outcome = e.outcome,
         charged = CASE WHEN r.charged = e.charged_before THEN e.charged
                        ELSE greatest(r.charged COLLATE "C", e.call_charged) END,
         due_at = CASE WHEN e.outcome IS NULL THEN now() + make_interval(secs => e.delay) END,
         calls = r.calls - coalesce(e.call_sends = 0 AND e.call_number = r.calls, false)::int,
         attempts = r.attempts + e.counted, in_doubt_calls = r.in_doubt_calls + e.doubted,
         auth_success = e.auth_success, auth_has_exception = e.auth_has_exception,
         auth_code = e.auth_code, auth_message = e.auth_message, auth_detail = e.auth_detail,
         provider_request_id = e.provider_request_id, error_kind = e.error_kind,
         error_message = e.error_message, error_fields = e.error_fields,
         reused_from = e.reused_from
    FROM entries AS e
   WHERE r.request_id = e.request_id AND r.grants = e.grant_number AND r.lease_owner = e.owner
     AND (SELECT count(*) FROM locked) IS NOT NULL
  RETURNING r.request_id, r.source, r.mode, r.check_type, r.calls, r.charged, r.context,
    r.requested_at, r.completed_at, e.owner, e.call_number, e.call_class, e.call_http_status,
    e.call_status, e.call_request_id, e.call_charged, e.call_sends, e.call_milliseconds,
    e.call_not_sent_because,
    e.call_sends = 0 AND r.calls < e.call_number AS unmade
), finished AS (
  UPDATE verification.provider_call AS c
     SET finished_at = now(), class = call_class, http_status = call_http_status,
         status = call_status, provider_request_id = call_request_id, charged = call_charged,
         sends = call_sends, milliseconds = call_milliseconds,
         not_sent_because = call_not_sent_because
    FROM recorded AS e
   WHERE c.request_id = e.request_id AND c.call_number = e.call_number AND c.worker = e.owner
     AND NOT unmade
), unmade_calls AS (
  DELETE FROM verification.provider_call AS c
   USING recorded AS e
   WHERE c.request_id = e.request_id AND c.call_number = e.call_number AND c.worker = e.owner
     AND unmade
), announced AS (
  UPDATE verification.request
     SET event_sent_at = coalesce(event_sent_at, now()), settled_at = now()
   WHERE request_id = ANY(CAST(:announced AS text[]))
     AND (SELECT count(*) FROM locked) IS NOT NULL
     AND outcome IS NOT NULL AND settled_at IS NULL
)
SELECT request_id, owner, source, mode, check_type, calls, charged, context::text AS context,
  requested_at, completed_at
  FROM recorded
""")
