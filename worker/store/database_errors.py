"""What can go wrong with the database, mapped once from the errors of driver, server and poolers.

Their own words may quote values, hosts and users, so only what they mean goes on, with the SQLSTATE
where there is one. A refused connection has none: then the words tell (in English, as libpq and a
server with `lc_messages=C` have them).
"""

import re
from typing import Any

import psycopg

from worker.ports import DatabaseUnfit, Fault, LedgerContended, LedgerRefused, LedgerUnavailable

UNNAMED_POOLER = (
    "DATABASE_URL: a connection pooler (PgBouncer) stands between: workers and commands need"
    " DATABASE_POOLER=transaction, and migrations the server itself"
)
_POOLER = "behind a pooler in transaction mode set DATABASE_POOLER=transaction"
_READ_ONLY = (
    "the server is read-only, a standby or no primary any more: name all hosts in DATABASE_URL"
)
_NOT_LET_IN = "the server does not let this user in from here"

# The session is of no use any more, though the server may keep it: a server that has become
# read-only keeps it for ever, and what a pooler has mixed up stays so.
_CONDEMNING = ("08", "25006", "26000", "42P05", "57P01", "57P02", "57P03")

_CONTENTION = {
    "40001": "another transaction changed the same rows",
    "40P01": "a deadlock with another transaction",
    "55P03": "a lock is held by another session",
}

_STATES = {
    "08P01": f"the pooler has lost its server, or mixes up statements: {_POOLER}",
    "25006": _READ_ONLY,
    "26000": f"a prepared statement is not there: {_POOLER}",
    "42P05": f"a prepared statement is there twice: {_POOLER}",
    "42501": "this user lacks a right: it needs the role verification_worker",
    "53100": "the server's disk is full",
    "53200": "the server is out of memory",
    "53300": "the server takes no more connections",
    "57014": "a statement took too long",
    "57P01": "the server is shutting down, or an administrator has ended the session",
    "57P02": "the server has crashed and restarts",
    "57P03": "the server is starting or shutting down",
    "3F000": "the schema is not there: run `alembic upgrade head`",
    "42P01": "the schema is not there: run `alembic upgrade head`",
    "42703": "the schema is not there: run `alembic upgrade head`",
}

# Why there is no connection; of several hosts each has its own words, and the first here counts.
_CONNECTING = (
    ("password authentication failed|no such user|SASL auth", "user or password is wrong"),
    ("no password supplied", "the server asks for a password, and DATABASE_URL has none"),
    ('role ".*" does not exist', "there is no such user"),
    ("is not permitted to log in", "this user may not log in"),
    ('database ".*" does not exist|no such database', "there is no such database"),
    ("permission denied for database", "this user may not connect to the database"),
    ("pg_hba.conf .*no encryption", f"{_NOT_LET_IN}, or not without TLS (pg_hba.conf)"),
    ("pg_hba.conf", f"{_NOT_LET_IN} (pg_hba.conf)"),
    # A session's first file fails: the server has other words for it than for a full table.
    ("could not write|No space left", "the server's disk is full"),
    ("too many|connection slots|no more connections", "the server takes no more connections"),
    ("database system is", "the server is starting or shutting down"),
    ("session is read-only|in hot standby mode", _READ_ONLY),
    # libpq does not tell the two apart.
    (
        "certificate verify failed",
        "the certificate's CA is not the one in sslrootcert, or the certificate has expired",
    ),
    ("does not match host name", "the certificate names another host"),
    ("root certificate file", "the file that sslrootcert names is not there"),
    ("does not support SSL", "the server speaks no TLS"),
    ("SSL error|certificate|private key", "TLS fails: look at sslcert, sslkey and sslrootcert"),
    ("failed to resolve host|could not translate host", "the host's name is not known (DNS)"),
    ("Connection refused", "connection refused"),
    ("timeout expired|timed out", "no answer in time"),
    ("No route to host|is unreachable", "the network has no way to the host"),
    ("No such file or directory", "no server listens on that socket"),
    ("SSL negotiation|expected authentication", "what answers there is no PostgreSQL"),
    ("closed the connection|Connection reset", "the server closed the connection"),
)


def condemns(error: BaseException | None, session: psycopg.Connection[Any] | None) -> bool:
    """Return whether the session that an error came from is of no use any more."""
    state = getattr(getattr(error, "orig", error), "sqlstate", None) or ""
    return session is None or session.closed or state.startswith(_CONDEMNING)


def mapped(error: BaseException | None) -> Fault:
    """Return the error of ours that a failure of the driver's means.

    Data that can never be stored (classes 22 and 23) is told from a database in trouble.
    """
    state = getattr(error, "sqlstate", None)
    if state is None:
        return _no_connection(error)
    if state in _CONTENTION:
        return LedgerContended(_CONTENTION[state])
    if state[:2] in ("22", "23"):
        return LedgerRefused(f"SQLSTATE {state}")
    words = _STATES.get(state)
    return LedgerUnavailable(f"{words} (SQLSTATE {state})" if words else f"SQLSTATE {state}")


def _no_connection(error: BaseException | None) -> Fault:
    words = str(error)
    if "unsupported startup parameter" in words:
        return DatabaseUnfit(UNNAMED_POOLER)
    found = (meaning for known, meaning in _CONNECTING if re.search(known, words))
    return LedgerUnavailable(f"no connection ({next(found, type(error).__name__)})")
