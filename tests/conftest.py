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
from xdist.scheduler import LoadScopeScheduling

from local_stack import Servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdist.remote import Producer

_CHECKOUT = Path(__file__).resolve().parent.parent

# Hypothesis in short for the one at the keyboard, longer where all tests run, and for hours:
#     HYPOTHESIS_PROFILE=long pytest tests/fuzz
# No deadline: on a loaded machine a slow example is not a wrong one.
settings.register_profile("quick", max_examples=15, deadline=None)
settings.register_profile("full", max_examples=50, deadline=None)
settings.register_profile("long", max_examples=100_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


# What a file's tests share takes half a minute to make: one process runs them all. Any other test
# goes to whichever process is free.
_TOGETHER = (
    "chaos/test_cluster.py",
    "chaos/test_security_transport.py",
    "deploy/test_image.py",
    "sql/test_published_queries.py",
)


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return file if file.endswith(_TOGETHER) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Say which processes run what, where `pytest -n` starts several."""
    return _Scheduling(config, log)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Run the broker and the database server of this session."""
    with Servers() as running:
        yield running


@pytest.fixture
def amqp_url(servers: Servers) -> Iterator[str]:
    """Give an empty vhost; a foreign broker without a management URL has only its own."""
    name = f"test-{uuid.uuid4().hex}"
    if servers.broker.management_url is None:
        yield servers.broker.vhost_for(name)
        return
    yield servers.broker.create_vhost(name)
    servers.broker.delete_vhost(name)


@pytest.fixture
def database_url(servers: Servers, migrated_database: str) -> Iterator[str]:
    """Give a database of this test alone, with all migrations applied and no rows."""
    name = f"test_{uuid.uuid4().hex}"
    yield servers.database.create_database(name, template=migrated_database)
    servers.database.drop_database(name)


@pytest.fixture(scope="session")
def migrated_database(servers: Servers) -> Iterator[str]:
    """Name a database to copy: copying takes 0.3 s, migrating a second and a half."""
    name = f"template_{uuid.uuid4().hex}"
    url = servers.database.create_database(name)
    try:
        _migrate(url)
        yield name
    finally:
        servers.database.drop_database(name)


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
