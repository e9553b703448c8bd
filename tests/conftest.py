"""The servers that tests share, started when the first test asks for one.

One broker and one database server per session; a vhost and a database of its own for each test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from local_stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHECKOUT = Path(__file__).resolve().parent.parent

# Hypothesis in short for the one at the keyboard, longer where all tests run, and for hours:
#     HYPOTHESIS_PROFILE=long pytest tests/fuzz
# No deadline: on a loaded machine a slow example is not a wrong one.
settings.register_profile("quick", max_examples=15, deadline=None)
settings.register_profile("full", max_examples=50, deadline=None)
settings.register_profile("long", max_examples=100_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Ask for a file's tests in one process, for what they share; those marked `spread` share none.

    A wish: xdist 3.8 writes the group to `_nodeid`, which pytest 9.2 does not read any more. Until
    they agree again fixtures of a file are made in each process, which costs time and nothing else.
    """
    if item.get_closest_marker("spread") is None:
        item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Run the broker and the database server of this session."""
    with Stack() as running:
        yield running


@pytest.fixture
def amqp_url(stack: Stack) -> Iterator[str]:
    """Give an empty vhost; a foreign broker without a management URL has only its own."""
    name = f"test-{uuid.uuid4().hex}"
    if stack.broker.management_url is None:
        yield stack.broker.vhost_for(name)
        return
    yield stack.broker.create_vhost(name)
    stack.broker.delete_vhost(name)


@pytest.fixture
def database_url(stack: Stack, migrated_database: str) -> Iterator[str]:
    """Give a database of this test alone, with all migrations applied and no rows."""
    name = f"test_{uuid.uuid4().hex}"
    yield stack.database.create_database(name, template=migrated_database)
    stack.database.drop_database(name)


@pytest.fixture(scope="session")
def migrated_database(stack: Stack) -> Iterator[str]:
    """Name a database to copy: copying takes 0.3 s, migrating a second and a half."""
    name = f"template_{uuid.uuid4().hex}"
    url = stack.database.create_database(name)
    try:
        _migrate(url)
        yield name
    finally:
        stack.database.drop_database(name)


def _migrate(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=_CHECKOUT,
        env={**os.environ, "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"alembic upgrade head:\n{done.stdout}", pytrace=False)
