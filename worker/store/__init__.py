"""The database: the only home of SQLAlchemy and psycopg. Any thread may enter; each call is short.

Its errors are `LedgerUnavailable` (try again) and `LedgerRefused` (this data never).

For workers: `ledger` (claims and records; `claiming`, `quota` and `statements` are parts of it),
`outbox`, `leases`, `erasure` (retention too), `backlog`, `turned_away`, `registry`, `pause`. For
tools: `inquiry`, `overview`, `registry`, `invoice`, `erasure` and `pause`. For both: `engine`.
`rows` says what the columns of a request mean; `tables` is for the migrations.
"""
