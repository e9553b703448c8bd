"""The database: the only home of SQLAlchemy and psycopg. Any thread may enter; each call is short.

Its errors are `LedgerUnavailable` (try again) and `LedgerRefused` (this data never).

For workers: `ledger` (claims and records; `claiming`, `quota` and `statements` are parts of it),
`outbox`, `leases`, `erasure` (retention too), `backlog` and `fleet`. For tools: `inquiry`,
`overview`, `fleet`, `invoice`, `erasure` and `restoring`. For both: `engine`.
`rows` says what the columns of a request mean; `migrations/tables.py` lists them all.
"""
