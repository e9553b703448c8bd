"""The migration Job: two at once, beside readers, where its login comes from, and how it fails."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from local_database import Database
from migrations import steps
from tests.conftest import Refusal, alembic
from tests.deploy.manifests import rendered
from tests.e2e.harness import Process, until

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


@contextmanager
def upgrading(**environment: str) -> Iterator[Process]:
    """Start what the migration Job starts; it ends with the block."""
    (job,) = rendered("production").pod("migration").containers()
    module, *arguments = job["command"]
    fork = "LC_ALL" not in environment  # which an interpreter reads when it starts
    upgrade = Process.start(arguments, environment, module=module, fork=fork)
    try:
        yield upgrade
    finally:
        upgrade.kill()


def heard(upgrade: Process, words: str) -> None:
    """Return when it has said this; fail when it ends without."""
    until(lambda: upgrade.said(words) or upgrade.popen.poll() is not None)
    assert upgrade.said(words), upgrade.lines


def succeeds(upgrade: Process) -> None:
    """Wait for its end, which must be a good one."""
    assert upgrade.ended() == 0, upgrade.lines


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
    with psycopg.connect(empty_database, autocommit=True) as observer:
        observer.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        with upgrading(**url) as one, upgrading(**url) as two:
            for each in (one, two):
                heard(each, "Waiting for another upgrade")
            observer.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
            succeeds(one)
            succeeds(two)
    assert [bool(each.said("Running upgrade")) for each in (one, two)].count(True) == 1


def test_people_read_the_views_while_they_are_migrated(first_revision: str) -> None:
    """One look at a view, and two in one transaction, again and again: none fails or hangs."""
    ended, looks, failures = threading.Event(), [0] * 4, list[psycopg.Error]()

    def read(number: int) -> None:
        views = _VIEWS[number:] + _VIEWS[:number]
        with psycopg.connect(first_revision, autocommit=True) as reader:
            reader.execute("SET lock_timeout = '30s'")
            while not ended.wait(0.005):
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
        until(lambda: all(looks))
        with upgrading(DATABASE_URL=first_revision) as upgrade:
            succeeds(upgrade)
    finally:
        ended.set()
        for each in readers:
            each.join()
    assert failures == []
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
            heard(upgrade, f"pid {analyst.info.backend_pid} (user postgres, analyst)")
            reader.execute("SET lock_timeout = '30s'")
            for _ in range(10):
                reader.execute("SELECT count(*) FROM verification_v1.results")
            assert upgrade.popen.poll() is None
            analyst.commit()
            succeeds(upgrade)


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
            assert upgrade.ended() == 2, upgrade.lines
            assert upgrade.lines[-1].startswith("the database has ended the connection")
        index = _IS_VALID.format("request_kept_idx").encode()
        assert observer.execute(index).fetchone() == (False,)
        analyst.rollback()
        with upgrading(DATABASE_URL=first_revision) as again:
            succeeds(again)
        assert observer.execute(index).fetchone() == (True,)
    assert "No new upgrade operations detected" in alembic(first_revision, "check")


def test_a_login_that_may_create_no_roles_says_what_must_be_run_and_needs_nothing_else(
    other_cluster: Database, refusal: Refusal
) -> None:
    url = other_cluster.create_database("without_roles")
    login = plain_login(url)
    (words,) = refusal(DATABASE_URL=login)
    (advised,) = re.findall("`(.*)`", words)
    assert "may not create roles" in words
    with psycopg.connect(url) as administrator:
        for statement in filter(None, advised.split(";")):
            administrator.execute(statement.encode())
    with upgrading(DATABASE_URL=login) as again:
        succeeds(again)


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
        succeeds(upgrade)
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
def test_a_mistake_is_one_line_and_exit_code_2(
    refusal: Refusal, environment: dict[str, str], words: str
) -> None:
    (line,) = refusal(**environment)
    assert line.startswith(words)
    assert ":p@" not in line


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
    other_cluster: Database,
    refusal: Refusal,
    request: pytest.FixtureRequest,
    prepare: str,
    words: str,
) -> None:
    name = request.node.callspec.id.replace("-", "_")
    url = other_cluster.create_database(name)
    login = plain_login(url)
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(prepare.format(name).encode())
    (line,) = refusal(DATABASE_URL=login)
    assert line.startswith(words)


def test_a_database_of_another_encoding_is_refused_in_one_line(
    chinese_database: str, refusal: Refusal
) -> None:
    (line,) = refusal(DATABASE_URL=chinese_database)
    assert line.startswith("DATABASE_URL: the database's encoding is EUC_CN: ")


def test_a_lock_that_is_never_free_is_named_with_who_holds_it(
    first_revision: str, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "_TRIES", 1)
    monkeypatch.setattr(steps, "_PAUSE", 0.0)
    with psycopg.connect(first_revision, application_name="analyst") as analyst:
        holder = f"pid {analyst.info.backend_pid} (user postgres, analyst)"
        analyst.execute("SELECT count(*) FROM verification_v1.results")
        (line,) = refusal(DATABASE_URL=first_revision)
    assert line.startswith(f"a lock was never free: {holder}")
