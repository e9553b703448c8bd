"""The database: the only home of SQLAlchemy and psycopg. Any thread may enter; each call is short.

Its errors are `LedgerUnavailable` (try again) and `LedgerRefused` (this data never).
"""
