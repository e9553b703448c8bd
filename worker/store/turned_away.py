"""How many messages were turned away without a row of their own, by day, source and reason."""

from collections.abc import Mapping

from sqlalchemy import Engine, text

from worker.core.request import Mode
from worker.store.engine import execute
from worker.store.rows import as_json

# Sources are a publisher's words. Who sends a new one with each message fills no table: beyond so
# many rows a day they are counted together, as unknown.
ROWS_A_DAY = 1_000

COUNT = text("""
WITH today AS (
  SELECT day, (SELECT count(*) FROM verification.turned_away AS t WHERE t.day = now.day) AS rows
    FROM (SELECT (now() AT TIME ZONE 'Asia/Shanghai')::date AS day) AS now
), named AS (
  SELECT day, reason, messages,
         CASE WHEN rows + row_number() OVER () <= :at_most THEN source ELSE '' END AS source
    FROM today, json_to_recordset(CAST(:batch AS json)) AS b(source text, reason text, messages int)
)
INSERT INTO verification.turned_away AS t (day, mode, source, reason, messages)
SELECT day, :mode, source, reason, sum(messages) FROM named GROUP BY 1, 2, 3, 4 ORDER BY 3, 4
    ON CONFLICT (day, mode, source, reason) DO UPDATE SET messages = t.messages + excluded.messages
""")


def count_turned_away(
    engine: Engine, mode: Mode, counts: Mapping[tuple[object, object], int]
) -> None:
    """Add to today's counts, by source (None: unknown) and reason. Errors as of `ports.Ledger`."""
    rows: list[dict[str, object]] = [
        {"source": source or "", "reason": reason, "messages": number}
        for (source, reason), number in counts.items()
    ]
    execute(engine, COUNT, mode=mode.value, batch=as_json(rows), at_most=ROWS_A_DAY)
