"""The provider's invoice against the ledger: loaded into a temporary table, joined in SQL.

Memory is bounded on our side by a batch, on the server's by its own limits; all in one transaction
that ends with the tables. The ledger is only read.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from sqlalchemy import Connection, Engine, text

from worker.core.request import Mode
from worker.store.engine import connection


class Finding(StrEnum):
    """What an invoice and the ledger can disagree about, and what nobody can tell."""

    BILLED_UNKNOWN = "billed_unknown"
    """The ledger has no call with this id of the provider's."""
    BILLED_FREE = "billed_free"
    """The ledger has it as not charged."""
    BILLED_AGAIN = "billed_again"
    """The same id stands in an earlier line."""
    BILLED_SECOND_CALL = "billed_second_call"
    """Another call of the same request is billed in an earlier line."""
    UNBILLED = "unbilled"
    """The ledger has it as charged, within the time that is compared."""
    DOUBT_BILLED = "in_doubt_billed"
    """Nobody knew; the invoice says charged."""
    DOUBT_UNBILLED = "in_doubt_unbilled"
    """Nobody knew; it has an id, and the invoice has not."""
    DOUBT_WITHOUT_ID = "in_doubt_without_id"
    """Nobody knows: no answer came, so there is no id to look for."""


DISPUTES = frozenset(Finding) - {
    Finding.DOUBT_BILLED,
    Finding.DOUBT_UNBILLED,
    Finding.DOUBT_WITHOUT_ID,
}
"""What somebody has to look into; the others are news."""


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One billed call: the line in the file, the provider's id, and when (None: not said)."""

    line: int
    provider_request_id: str
    billed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Found:
    """One finding. `at` is when it was billed, or when our call began."""

    kind: Finding
    line: int | None
    provider_request_id: str | None
    request_id: str | None
    call_number: int | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Compared:
    """How many lines were compared, how many calls the ledger has charged in that time."""

    billed: int
    matched: int
    charged: int
    begin: datetime
    end: datetime
    counts: dict[Finding, int]


_TABLES = (
    """CREATE TEMPORARY TABLE invoice (
    line bigint, provider_request_id text, billed_at timestamptz) ON COMMIT DROP""",
    """CREATE TEMPORARY TABLE billed (
    line bigint, provider_request_id text, billed_at timestamptz, request_id text,
    call_number int, charged text) ON COMMIT DROP""",
    """CREATE TEMPORARY TABLE found (
    kind text, line bigint, provider_request_id text, request_id text, call_number int,
    at timestamptz) ON COMMIT DROP""",
)

ADD = text("""
INSERT INTO invoice SELECT * FROM unnest(
  CAST(:lines AS bigint[]), CAST(:ids AS text[]), CAST(:times AS timestamptz[]))
""")

SPAN = text("""
SELECT min(billed_at) AS first, max(billed_at) + interval '1 microsecond' AS end FROM invoice
""")

# Each line with its call; should two calls have one id, with the earlier.
_BILLED = text("""
INSERT INTO billed
SELECT DISTINCT ON (i.line) i.*, c.request_id, c.call_number, c.charged
  FROM invoice AS i
  LEFT JOIN verification.provider_call AS c
         ON c.provider_request_id = i.provider_request_id AND c.mode = :mode
 ORDER BY i.line, c.started_at
""")

# In the order of `Finding`. An id that comes again is no second call as well.
_FOUND = text("""
INSERT INTO found
WITH placed AS (
  SELECT *, row_number() OVER (PARTITION BY provider_request_id ORDER BY line) AS place
    FROM billed
), once AS (
  SELECT *, CASE WHEN request_id IS NOT NULL THEN
           row_number() OVER (PARTITION BY request_id ORDER BY line) END AS call_place
    FROM placed WHERE place = 1
), expected AS (
  SELECT c.request_id, c.call_number, c.provider_request_id, c.started_at, c.charged,
         EXISTS (SELECT FROM billed AS b WHERE b.provider_request_id = c.provider_request_id)
           AS is_billed
    FROM verification.provider_call AS c
   WHERE c.mode = :mode AND c.started_at >= :begin AND c.started_at < :end
     AND c.finished_at IS NOT NULL AND c.charged IN ('yes', 'unknown')
)
SELECT kind, line, provider_request_id, request_id, call_number, billed_at AS at
  FROM once, LATERAL (VALUES ('billed_unknown', request_id IS NULL),
                             ('billed_free', charged = 'no'),
                             ('billed_second_call', call_place > 1)) AS findings(kind, holds)
 WHERE holds
UNION ALL
SELECT 'billed_again', line, provider_request_id, request_id, call_number, billed_at
  FROM placed WHERE place > 1
UNION ALL
SELECT CASE WHEN charged = 'yes' THEN 'unbilled'
            WHEN is_billed THEN 'in_doubt_billed'
            WHEN provider_request_id IS NULL THEN 'in_doubt_without_id'
            ELSE 'in_doubt_unbilled' END,
       NULL, provider_request_id, request_id, call_number, started_at
  FROM expected WHERE charged = 'unknown' OR NOT is_billed
""")

COUNTS = text("SELECT kind, count(*) AS findings FROM found GROUP BY 1")
TOTALS = text("""
SELECT (SELECT count(*) FROM billed) AS billed,
       (SELECT count(*) FROM billed WHERE request_id IS NOT NULL) AS matched,
       (SELECT count(*) FROM verification.provider_call
         WHERE mode = :mode AND started_at >= :begin AND started_at < :end
           AND charged = 'yes') AS charged
""")
FINDINGS = text("""
SELECT line, provider_request_id, request_id, call_number, at FROM found WHERE kind = :kind
 ORDER BY line, at, request_id, call_number LIMIT :limit
""")


class Reconciliation:
    """One comparison in a transaction of its own. Errors as of the ledger.

    First `add` all lines, then `span`, `compare` and `findings`.
    """

    def __init__(self, database: Connection, mode: Mode) -> None:
        self._database = database
        self._mode = mode.value

    @classmethod
    @contextmanager
    def begin(cls, engine: Engine, mode: Mode) -> Iterator[Self]:
        """Begin the transaction of a comparison; nothing of it is left at the end."""
        transactions = engine.execution_options(isolation_level="READ COMMITTED")
        with connection(transactions) as database, database.begin():
            # The whole ledger may be read: seconds for ten million calls.
            database.execute(text("SET LOCAL statement_timeout = '15min'"))
            for table in _TABLES:
                database.execute(text(table))
            yield cls(database, mode)

    def add(self, lines: Sequence[InvoiceLine]) -> None:
        """Load a batch of lines."""
        columns = {
            "lines": [each.line for each in lines],
            "ids": [each.provider_request_id for each in lines],
            "times": [each.billed_at for each in lines],
        }
        self._database.execute(ADD, columns)

    def span(self) -> tuple[datetime, datetime] | None:
        """Return the invoice's own time, its end excluded; None where no line has a time."""
        row = self._database.execute(SPAN).one()
        return None if row.first is None else (row.first, row.end)

    def compare(self, begin: datetime, end: datetime) -> Compared:
        """Compare all lines with the ledger, whose charged calls of this time are expected."""
        asked = {"mode": self._mode, "begin": begin, "end": end}
        self._database.execute(text("ANALYZE invoice"))
        self._database.execute(_BILLED, {"mode": self._mode})
        self._database.execute(text("ANALYZE billed"))
        self._database.execute(_FOUND, asked)
        found = {row.kind: row.findings for row in self._database.execute(COUNTS)}
        counts = {kind: found[kind.value] for kind in Finding if kind.value in found}
        totals = self._database.execute(TOTALS, asked).one()
        return Compared(totals.billed, totals.matched, totals.charged, begin, end, counts)

    def findings(self, kind: Finding, limit: int | None = None) -> Iterator[Found]:
        """Yield the findings of one kind, in the invoice's order or by time; None: all."""
        asked = {"kind": kind.value, "limit": limit}
        options = {"yield_per": 1000}
        for row in self._database.execute(FINDINGS, asked, execution_options=options):
            yield Found(kind, *row)
