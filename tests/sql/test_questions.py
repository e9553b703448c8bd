"""The guide's questions, asked of rows whose answers are known."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.sql.published import blocks, literal

# (id, source, outcome, charged, calls, kind, published before the first claim, seconds to the end)
_REQUESTS = """
INSERT INTO verification.request (request_id, fingerprint, source, check_type, mode, state, calls,
  charged, outcome, error_kind, error_fields, subject_digest, context, provider_request_id,
  reused_from, requested_at, published_at, completed_at, event_sent_at)
SELECT id, '\\x01', source, 2, 'live', 'done', calls, charged, outcome, kind, fields::json,
  subject::bytea, '{"applicant": 42}', 'jd-' || id, reused, at, at - make_interval(secs => queued),
  at + interval '2 s', sent
  FROM (SELECT now() - interval '90 min' AS at) AS t, (VALUES
  ('a1', 'web', 'match', 'yes', 1, NULL, NULL, '\\xaa', NULL, 30, now()),
  ('a2', 'web', 'match', 'yes', 2, NULL, NULL, '\\xaa', NULL, 30, now()),
  ('a3', 'web', 'mismatch', 'yes', 1, NULL, NULL, '\\xbb', NULL, 30, NULL),
  ('a4', 'web', 'failed', 'unknown', 2, 'in_doubt', NULL, '\\xcc', NULL, 30, now()),
  ('b1', 'app', 'match', 'no', 0, NULL, NULL, '\\xdd', 'a1', NULL, now()),
  ('b2', 'app', 'rejected', 'no', 0, 'invalid_request',
   '[{"field": "name", "problem": "is required"}]', NULL, NULL, NULL, now())
) AS r(id, source, outcome, charged, calls, kind, fields, subject, reused, queued, sent)
"""
_OPEN = """
INSERT INTO verification.request (request_id, fingerprint, source, check_type, mode, state, calls,
  charged, requested_at)
VALUES ('stuck', '\\x01', 'web', 2, 'live', 'waiting', 1, 'no', now() - interval '2 hours')
"""
_CALLS = """
INSERT INTO verification.provider_call (request_id, call_number, mode, worker, started_at,
  finished_at, class, charged, milliseconds, source, check_type, not_sent_because,
  provider_request_id)
SELECT id, number, 'live', 'w', now() - interval '90 min', now(), class, charged, ms, source, 2,
  why, CASE WHEN id = 'a2' AND number = 2 THEN 'the-id' ELSE id || number END
  FROM (VALUES ('a1', 1, 'answered', 'yes', 100, 'web', NULL),
               ('a2', 1, 'not_sent', 'no', 0, 'web', 'dns'),
               ('a2', 2, 'answered', 'yes', 300, 'web', NULL),
               ('a3', 1, 'answered', 'yes', 200, 'web', NULL),
               ('a4', 1, 'in_doubt', 'unknown', 900, 'web', NULL)
  ) AS c(id, number, class, charged, ms, source, why)
"""

_TURNED_AWAY = """
INSERT INTO verification.turned_away (day, mode, source, reason, messages)
SELECT current_date - age, mode, source, reason, messages
  FROM (VALUES (1, 'live', 'web', 'conflict', 4), (1, 'sandbox', 'web', 'conflict', 9),
               (1, 'live', '', 'not_json', 2), (2, 'live', 'app', 'no_usable_id', 3),
               (40, 'live', 'web', 'conflict', 7)) AS t(age, mode, source, reason, messages)
"""

_OUTCOMES = [
    *(("a1", "match"), ("a2", "match"), ("a3", "mismatch"), ("a4", "failed")),
    *(("b1", "match"), ("b2", "rejected")),
]

# Words of the query, and which of its columns are what; dates are today's or yesterday's.
_ANSWERS: list[tuple[str, list[tuple[Any, ...]]]] = [
    ("AS charged FROM", [("web", 2, 3)]),
    ("match_percent", [("app", 1, 100.0), ("web", 3, 66.7)]),
    ("p95_in_the_queue", [("web", 4, 32.0, 30.0)]),
    ("charged <> 'no'", [("a4", "web", "failed", "in_doubt", "unknown")]),
    ("interval '1 hour' ORDER", [("stuck", "web", "waiting", 0, "no")]),
    ("outcome, error_kind, count", [
        ("app", "rejected", "invalid_request", 1), ("web", "failed", "in_doubt", 1)]),
    ("jsonb_array_elements", [("app", "name", "is required", 1)]),
    ("AS again FROM", [("app", 1, 0), ("web", 3, 1)]),
    ("AS reused", [("app", 1)]),
    ("ARRAY[0.5", [(3, [200.0, 290.0, 298.0])]),
    ("not_sent_because, count", [("in_doubt", None, 1), ("not_sent", "dns", 1)]),
    ("calls_each", [("app", 0.0, 0), ("web", 1.33, 2)]),
    ("event_sent_at IS NULL", [("a3", "web", "mismatch")]),
    ("GROUP BY charged", [("no", 1), ("unknown", 1), ("yes", 3)]),
    ("turned_away", [("web", "conflict", 4), (None, "not_json", 2), ("app", "no_usable_id", 3)]),
    ("context_jsonb @>", _OUTCOMES),
    ("'the-id'", [("a2", 2, "answered", "yes", "match")]),
]  # fmt: skip


def asking(words: str) -> list[str]:
    """Return the guide's queries that have these words."""
    return [each for each in blocks("Questions and their queries") if words in each]


@pytest.mark.parametrize(("words", "expected"), _ANSWERS, ids=[words for words, _ in _ANSWERS])
def test_the_guide_answers_truly(
    owner: psycopg.Connection, reader: psycopg.Connection, words: str, expected: list[Any]
) -> None:
    for statement in (_REQUESTS, _OPEN, _CALLS, _TURNED_AWAY):
        owner.execute(literal(statement))
    (query,) = asking(words)
    # The day that began in Shanghai while the rows were an hour old is not the point here.
    query = query.replace("date_trunc('month', current_date)::date", "current_date - 1")
    query = query.replace(">= current_date - 7", ">= current_date - 8")
    rows = reader.execute(literal(query)).fetchall()
    told = [tuple(_plain(cell) for cell in row if not isinstance(cell, date)) for row in rows]
    assert told == expected


def test_what_has_ended_and_what_waits_are_told_apart(
    owner: psycopg.Connection, reader: psycopg.Connection
) -> None:
    for statement in (_REQUESTS, _OPEN):
        owner.execute(literal(statement))
    (query,) = asking("completed_at >= current_date - 1")
    ids = {row[0] for row in reader.execute(literal(query))}
    assert ids == {name for name, _ in _OUTCOMES}


def _plain(cell: Any) -> Any:
    if isinstance(cell, timedelta):
        return cell.total_seconds()
    return float(cell) if isinstance(cell, Decimal) else cell
