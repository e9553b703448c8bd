"""The migration Job: two at once, beside readers, where its login comes from, and how it fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from local_database import Database
from local_process import tied
from migrations import steps
from tests.conftest import alembic
from tests.deploy.manifests import CHECKOUT, rendered
from tests.e2e.harness import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What migrations/env.py locks.
LOCK = 7_351_200_911

# The tables of the first revision, with rows.
_ROWS = """
INSERT INTO verification.request (request_id, fingerprint, source, mode, state, outcome,
                                  completed_at, event_sent_at)
SELECT 'old-' || n, '\\x01', 'x', 'sandbox', 'done', 'match', now(), now()
  FROM generate_series(1, 2000) AS n;
INSERT INTO verification.provider_call (request_id, call_number, mode, worker)
SELECT 'old-' || n, 1, 'sandbox', 'w' FROM generate_series(1, 2000) AS n
"""
_VIEWS = ("results", "open_requests", "calls", "daily_calls")
_IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'verification.{}'::regclass"


class Upgrade:
    """What the migration Job starts; `said` is what it has said until now."""

    def __init__(self, **environment: str) -> None:
        (job,) = rendered("production").pod("migration").containers()
        inherited = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        self._process = subprocess.Popen(
            tied([sys.executable, "-m", *job["command"]]),
            cwd=CHECKOUT,
            env={**inherited, **environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self.said += line

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def heard(self, words: str) -> None:
        """Return when it has said this; fail when it ends without."""
        until(lambda: words in self.said or not self.running)
        assert words in self.said, self.said

    def code(self) -> int:
        """Return its exit code, when it has ended."""
        code = self._process.wait(120)
        self._reader.join()
        return code

    def kill(self) -> None:
        """End it, if it has not."""
        self._process.kill()
        self.code()


@contextmanager
def upgrading(**environment: str) -> Iterator[Upgrade]:
    """Start an upgrade, which ends with the block."""
    upgrade = Upgrade(**environment)
    try:
        yield upgrade
    finally:
        upgrade.kill()


@pytest.fixture
def first_revision(empty_database: str) -> str:
    """Give a database of the first revision that people read, with rows."""
    alembic(empty_database, "upgrade", "0002")
    with psycopg.connect(empty_database) as database:
        for statement in _ROWS.split(";"):
            database.execute(statement.encode())
    return empty_database


@pytest.fixture(scope="module")
def other_cluster() -> Iterator[Database]:
    """Run a server that no database of ours was ever on."""
    server = Database(durable=False)
    server.start()
    yield server
    server.close()


def plain_login(database_url: str) -> str:
    """Make a login that owns the database and may nothing else; return its URL."""
    with psycopg.connect(database_url, autocommit=True) as database:
        name = database.info.dbname
        database.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(f"plain_{name}")))
        order = sql.SQL("ALTER DATABASE {} OWNER TO {}")
        database.execute(order.format(*map(sql.Identifier, (name, f"plain_{name}"))))
    return re.sub("//[^@]*@", f"//plain_{name}@", database_url)


def test_of_two_migrations_at_once_one_migrates_and_both_succeed(empty_database: str) -> None:
    """The test holds the lock until both stand before it: nothing is more at once than that."""
    url = {"DATABASE_URL": empty_database}
    with (
        psycopg.connect(empty_database, autocommit=True) as observer,
        upgrading(**url) as one,
        upgrading(**url) as two,
    ):
        observer.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        for each in (one, two):
            each.heard("Waiting for another upgrade")
        observer.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
        assert (one.code(), two.code()) == (0, 0), one.said + two.said
    assert sorted("Running upgrade" in each.said for each in (one, two)) == [False, True]


def test_people_read_the_views_while_they_are_migrated(first_revision: str) -> None:
    """One look at a view, and two in one transaction, again and again: none fails or hangs."""
    ended, looks, failures = threading.Event(), [0] * 4, list[psycopg.Error]()

    def read(number: int) -> None:
        views = _VIEWS[number:] + _VIEWS[:number]
        with psycopg.connect(first_revision, autocommit=True) as reader:
            reader.execute("SET lock_timeout = '30s'")
            while not ended.is_set():
                try:
                    with reader.transaction():
                        for view in views[: 1 + number % 2]:
                            query = sql.SQL("SELECT count(*) FROM verification_v1.{}")
                            reader.execute(query.format(sql.Identifier(view)))
                except psycopg.Error as error:
                    failures.append(error)
                looks[number] += 1

    readers = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for each in readers:
        each.start()
    try:
        with upgrading(DATABASE_URL=first_revision) as upgrade:
            assert upgrade.code() == 0, upgrade.said
    finally:
        ended.set()
        for each in readers:
            each.join()
    assert failures == []
    assert all(looks)
    assert "No new upgrade operations detected" in alembic(first_revision, "check")


def test_an_analyst_who_left_a_transaction_open_stops_the_migration_and_no_reader(
    first_revision: str,
) -> None:
    with (
        psycopg.connect(first_revision, application_name="analyst") as analyst,
        psycopg.connect(first_revision, autocommit=True) as reader,
    ):
        analyst.execute("TABLE verification_v1.open_requests")
        analyst.execute("TABLE verification_v1.calls")
        with upgrading(DATABASE_URL=first_revision) as upgrade:
            upgrade.heard(f"pid {analyst.info.backend_pid} (user postgres, analyst)")
            reader.execute("SET lock_timeout = '30s'")
            for _ in range(10):
                reader.execute("SELECT count(*) FROM verification_v1.results")
            assert upgrade.running
            analyst.commit()
            assert upgrade.code() == 0, upgrade.said


def test_an_index_whose_build_was_interrupted_is_built_anew(first_revision: str) -> None:
    """An analyst's snapshot holds the build up; then the server ends the migration's session."""
    with (
        psycopg.connect(first_revision, autocommit=True) as observer,
        psycopg.connect(first_revision) as analyst,
    ):
        analyst.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        analyst.execute("SELECT 1")
        with upgrading(DATABASE_URL=first_revision) as upgrade:
            building = """SELECT pid FROM pg_stat_progress_create_index
                           WHERE phase = 'waiting for old snapshots'"""
            (pid,) = until(lambda: observer.execute(building).fetchone())
            observer.execute("SELECT pg_terminate_backend(%s, 30000)", (pid,))
            assert upgrade.code() == 2, upgrade.said
            assert upgrade.said.splitlines()[-1].startswith("the database has ended the connection")
        index = _IS_VALID.format("request_kept_idx").encode()
        assert observer.execute(index).fetchone() == (False,)
        analyst.rollback()
        with upgrading(DATABASE_URL=first_revision) as again:
            assert again.code() == 0, again.said
        assert observer.execute(index).fetchone() == (True,)
    assert "No new upgrade operations detected" in alembic(first_revision, "check")


def test_a_login_that_may_create_no_roles_says_what_must_be_run_and_needs_nothing_else(
    other_cluster: Database,
) -> None:
    url = other_cluster.create_database("without_roles")
    login = plain_login(url)
    with upgrading(DATABASE_URL=login) as refused:
        assert refused.code() == 2
    *_, words = refused.said.splitlines()
    (advised,) = re.findall("`(.*)`", words)
    assert "may not create roles" in words
    assert "Traceback" not in refused.said
    with psycopg.connect(url) as administrator:
        for statement in filter(None, advised.split(";")):
            administrator.execute(statement.encode())
    with upgrading(DATABASE_URL=login) as again:
        assert again.code() == 0, again.said


@pytest.mark.parametrize("path", ["verification", "''"])
def test_a_search_path_of_the_database_changes_nothing(empty_database: str, path: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as database:
        order = f"ALTER DATABASE {database.info.dbname} SET search_path = {path}"
        database.execute(order.encode())
    alembic(empty_database, "upgrade", "head")
    assert "No new upgrade operations detected" in alembic(empty_database, "check")


def test_the_login_may_stand_in_a_file_whatever_the_locale(
    empty_database: str, tmp_path: Path
) -> None:
    file = tmp_path / "database-url"
    file.write_text(f"{empty_database}\n")
    with upgrading(DATABASE_URL_FILE=str(file), LC_ALL="POSIX") as upgrade:
        assert upgrade.code() == 0, upgrade.said
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
    with upgrading(**environment) as upgrade:
        assert upgrade.code() == 2
    assert upgrade.said.startswith(words)
    assert upgrade.said.count("\n") == 1
    assert ":p@" not in upgrade.said


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        ("ALTER DATABASE {0} SET default_transaction_read_only = on", "the server is read-only"),
        ("ALTER DATABASE {0} OWNER TO postgres", "the login of DATABASE_URL lacks a right"),
        ("CREATE SCHEMA verification_v1", "the migration failed"),
    ],
    ids=["read-only", "not-the-owner", "taken-name"],
)
def test_whatever_the_database_refuses_is_one_line(
    other_cluster: Database, request: pytest.FixtureRequest, prepare: str, words: str
) -> None:
    name = request.node.callspec.id.replace("-", "_")
    url = other_cluster.create_database(name)
    login = plain_login(url)
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(prepare.format(name).encode())
    with upgrading(DATABASE_URL=login) as upgrade:
        assert upgrade.code() == 2
    *_, last = upgrade.said.splitlines()
    assert last.startswith(words)
    assert "Traceback" not in upgrade.said


def test_a_database_of_another_encoding_is_refused_in_one_line(chinese_database: str) -> None:
    with upgrading(DATABASE_URL=chinese_database) as upgrade:
        assert upgrade.code() == 2
    assert upgrade.said.startswith("DATABASE_URL: the database's encoding is EUC_CN: ")
    assert upgrade.said.count("\n") == 1


def test_a_lock_that_is_never_free_is_named_with_who_holds_it(
    first_revision: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(steps, "_TRIES", 1)
    monkeypatch.setattr(steps, "_PAUSE", 0.0)
    with psycopg.connect(first_revision, application_name="analyst") as analyst:
        holder = f"pid {analyst.info.backend_pid} (user postgres, analyst)"
        analyst.execute("SELECT count(*) FROM verification_v1.results")
        with pytest.raises(SystemExit) as end:
            alembic(first_revision, "upgrade", "head")
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.startswith(f"a lock was never free: {holder}")
    assert said.count("\n") == 1
