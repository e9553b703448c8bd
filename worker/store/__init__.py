"""The database: the only home of SQLAlchemy and psycopg. Any thread may enter; each call is short.

Its errors are those of `worker.ports`: try again, never this data, or never this database.

For workers: `ledger` (claims and records), `outbox`, `leases`, `erasure` (retention too),
`backlog` and `fleet`. For tools: `inquiry`, `overview`, `fleet`, `outbox`, `invoice`, `erasure` and
`restoring`. For both: `engine`, which opens what `address` reads of DATABASE_URL and maps what goes
wrong by `database_errors`.

Parts of the ledger: `claiming`, with `quota` (its row: `quota_row`) and `reuse`; `booking`, for
records that come late; `statements`, its SQL; `rows`, what the columns of a request mean
(`migrations/tables.py` lists them all).
"""
