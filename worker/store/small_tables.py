"""The small tables of schema `verification`, and how every table's columns are written.

What was turned away, the quota, the pause, the workers, the epoch of changes: none of them grows
with the requests.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

SCHEMA = "verification"

metadata = sa.MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    },
)


def text(name: str, comment: str, **options: Any) -> sa.Column[str]:
    """Return a column of texts."""
    return sa.Column(name, sa.Text, comment=comment, **options)


def time(name: str, comment: str, **options: Any) -> sa.Column[datetime]:
    """Return a column of times with their zone."""
    return sa.Column(name, sa.DateTime(timezone=True), comment=comment, **options)


def flag(name: str, comment: str, **options: Any) -> sa.Column[bool]:
    """Return a column of true and false."""
    return sa.Column(name, sa.Boolean, comment=comment, **options)


def count(name: str, comment: str) -> sa.Column[int]:
    """Return a column that counts from 0."""
    return sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0"), comment=comment)


turned_away = sa.Table(
    "turned_away",
    metadata,
    sa.Column("day", sa.Date, primary_key=True, comment="Calendar day in Asia/Shanghai."),
    text("mode", "live or sandbox: of the worker that turned them away.", primary_key=True),
    text("source", "Publishing system; empty: it cannot be told.", primary_key=True),
    text(
        "reason",
        "conflict, mode_mismatch, or why it cannot be read: not_json, no_usable_id, …",
        primary_key=True,
    ),
    sa.Column("messages", sa.BigInteger, nullable=False, comment="How many."),
    sa.CheckConstraint("mode IN ('live', 'sandbox')", name="mode"),
    comment="Messages that were answered or kept as dead letters and left no row of their own, "
    "by day.",
)

call_quota = sa.Table(
    "call_quota",
    metadata,
    text("mode", "live or sandbox.", primary_key=True),
    time("next_call_at", "The next free place for a call of any worker.", nullable=False),
    sa.Column(
        "day", sa.Date, nullable=False, comment="Calendar day in Asia/Shanghai of calls_today."
    ),
    count("calls_today", "Calls that all workers intended on that day, against the budget."),
    time("live_at", "When a place was given to a live request last."),
    count("bulk_credit", "What bulk is owed: BULK_SHARE for each live call, less its own."),
    sa.Column("bulk_day", sa.Date, comment="Calendar day in Asia/Shanghai of bulk_calls."),
    count("bulk_calls", "Those of calls_today that are bulk's."),
    sa.CheckConstraint("mode IN ('live', 'sandbox')", name="mode"),
    sa.CheckConstraint("calls_today >= 0", name="calls_today"),
    comment="One row per mode: what all workers have used of the limits on calls.",
)

fleet_control = sa.Table(
    "fleet_control",
    metadata,
    flag(
        "single",
        "Always true: there is one row at most.",
        primary_key=True,
        server_default=sa.text("true"),
    ),
    time("paused_at", "Since when no worker may begin a call; null: they work."),
    text("paused_by", "Who ordered the pause."),
    text("reason", "Why, in the words of who ordered it."),
    sa.CheckConstraint("single", name="single"),
    sa.CheckConstraint(
        "(paused_at IS NULL) = (paused_by IS NULL) AND (paused_at IS NULL) = (reason IS NULL)",
        name="paused",
    ),
    comment="What people order all workers at once; without a row they work.",
)

worker = sa.Table(
    "worker",
    metadata,
    text("name", "Host, pid and a random part.", primary_key=True),
    text("mode", "live or sandbox.", nullable=False),
    text("version", "Its release.", nullable=False),
    time("started_at", "When it began.", nullable=False, server_default=sa.func.now()),
    time(
        "seen_at",
        "When it said so; a running worker does every few seconds.",
        nullable=False,
        server_default=sa.func.now(),
    ),
    text("state", "working, parked, probing or not ready.", nullable=False),
    text("reason", "Why, where it does not simply work."),
    time("probe_at", "When a parked worker tries the provider again."),
    count("held", "Messages delivered to it and not acknowledged."),
    count("claimed", "Requests with a lease of its own that are not recorded."),
    count("calls_under_way", "Its calls that have no end yet."),
    count("calls_allowed", "How many may be under way at once."),
    count("returned", "Messages given up by the broker that it has put back."),
    comment="One row per running worker, which it refreshes; for the command status.",
    postgresql_with={"fillfactor": "50"},
)

change_epoch = sa.Table(
    "change_epoch",
    metadata,
    flag(
        "single",
        "Always true: there is one row.",
        primary_key=True,
        server_default=sa.text("true"),
    ),
    sa.Column(
        "epoch",
        sa.BigInteger,
        nullable=False,
        server_default=sa.text("0"),
        comment="How often the rows have moved to another server or timeline.",
    ),
    text(
        "server",
        "Where this epoch began: the server's system identifier, timeline.",
        nullable=False,
    ),
    sa.CheckConstraint("single", name="single"),
    sa.CheckConstraint("epoch BETWEEN 0 AND 9000", name="epoch"),
    comment="One row: which epoch the numbers of changes are of.",
)
