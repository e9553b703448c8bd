"""The migration Job: two at once, and where its login comes from."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest

from local_process import tied
from tests.deploy.manifests import CHECKOUT, rendered
from tests.e2e.harness import until

if TYPE_CHECKING:
    from pathlib import Path

# What migrations/env.py locks, as pg_locks shows it: the number's upper and lower 32 bits.
LOCK = 7_351_200_911
WAITING = """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
              AND classid = %s AND objid = %s AND database =
                  (SELECT oid FROM pg_database WHERE datname = current_database())"""


def upgrade(**environment: str) -> subprocess.Popen[str]:
    """Start what the migration Job starts."""
    (job,) = rendered("production").pod("migration").containers()
    inherited = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.Popen(
        tied([sys.executable, "-m", *job["command"]]),
        cwd=CHECKOUT,
        env={**inherited, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_of_two_migrations_at_once_one_migrates_and_both_succeed(empty_database: str) -> None:
    """The test holds the lock until both stand before it: nothing is more at once than that."""
    with psycopg.connect(empty_database, autocommit=True) as observer:
        observer.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        jobs = [upgrade(DATABASE_URL=empty_database) for _ in range(2)]
        try:
            both = LOCK >> 32, LOCK & 0xFFFF_FFFF
            until(lambda: observer.execute(WAITING, both).fetchone() == (2,))
            observer.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
            said = [job.communicate(timeout=60)[0] for job in jobs]
        finally:
            for job in jobs:
                job.kill()
    assert [job.returncode for job in jobs] == [0, 0], said
    assert sorted("Running upgrade" in words for words in said) == [False, True]


def test_the_login_may_stand_in_a_file(empty_database: str, tmp_path: Path) -> None:
    file = tmp_path / "database-url"
    file.write_text(f"{empty_database}\n")
    job = upgrade(DATABASE_URL_FILE=str(file))
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 0, said
    with psycopg.connect(empty_database) as database:
        assert database.execute("SELECT 1 FROM verification.alembic_version").fetchone() == (1,)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "DATABASE_URL: is required"),
        ({"DATABASE_URL": "mysql://u:p@db/name"}, "DATABASE_URL: must begin with postgresql://"),
        ({"DATABASE_URL_FILE": "/no/such/file"}, "DATABASE_URL_FILE: cannot be read"),
        ({"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/name"}, "DATABASE_URL: the database"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(environment: dict[str, str], words: str) -> None:
    job = upgrade(**environment)
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 2
    assert said.startswith(words)
    assert said.count("\n") == 1
    assert ":p@" not in said
