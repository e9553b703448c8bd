"""`context` as jsonb: whatever stands in a row, no other row becomes unreadable by it."""

import json
from typing import LiteralString

import psycopg
import pytest

_ROW = """
INSERT INTO verification.request (request_id, fingerprint, source, mode, state, outcome,
    completed_at, context)
VALUES (%s, '\\x01', 'x', 'live', 'done', 'match', now(), %s::json)
"""
CONTEXTS = [
    '{"applicant": 42, "tags": ["a", "b"]}',
    '{"a": 1, "b": 2, "a": 3}',
    r'{"path": "C:\\u0000\\ud800", "quote": "\" 1e999999 \\"}',
    '{"name": "note e12345", "hash": "1e123456"}',
    '{"float": -1.5e-300, "large": 1e9999}',
    r'{"newline": "\u000a\n", "word": "é😀"}',
    "{" + '"a":{' * 300 + "}" * 301,
]
REFUSED = [
    r'{"nul": "\u0000"}',
    r'{"nul": "\\\u0000"}',
    r'{"half": "\ud800"}',
    r'{"half": "\\\\\uDFFF"}',
    '{"beyond": 1e999999}',
    '{"beyond": "e", "number": [1E+234567, 1e-16384]}',
    '{"too fine": 1e-16384}',
]


@pytest.mark.parametrize("view", ["results", "changes"])
def test_the_context_as_jsonb_is_what_a_cast_makes_or_null_where_it_fails(
    owner: psycopg.Connection, reader: psycopg.Connection, view: LiteralString
) -> None:
    for number, context in enumerate([*CONTEXTS, *REFUSED]):
        owner.execute(_ROW, [f"{number:02}", context])
    query = "SELECT context::text, context_jsonb::text FROM {} ORDER BY request_id"
    rows = reader.execute(psycopg.sql.SQL(query).format(psycopg.sql.Identifier(view))).fetchall()
    cast = [owner.execute("SELECT %s::jsonb::text", [context]).fetchone() for context in CONTEXTS]
    assert rows == [
        *((context, made) for context, (made,) in zip(CONTEXTS, filter(None, cast), strict=True)),
        *((context, None) for context in REFUSED),
    ]
    assert json.loads(rows[1][1]) == {"a": 3, "b": 2}
    for context in REFUSED:
        with pytest.raises(psycopg.DataError):
            owner.execute("SELECT %s::jsonb", [context])
    found = reader.execute(
        "SELECT count(*) FROM results WHERE context_jsonb @> '{\"applicant\": 42}'"
    ).fetchone()
    assert found == (1,)
