"""The database fails over to a standby while workers use it: all is counted."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from local_database import Database
from local_stack import Servers
from tests.chaos.database import is_back, misses_database
from tests.chaos.load import PACE, Load
from tests.chaos.proxy import Proxy, address
from tests.chaos.replication import Standby, cut_off, follow, is_followed, promote
from tests.conftest import migrate
from tests.e2e.harness import SandboxProcess, Stack, free_port, until
from tests.e2e.stacks import built


@pytest.fixture
def primary(own_servers: None) -> Iterator[Database]:
    with Database() as database:
        migrate(database.url)
        yield database


@pytest.fixture
def standby(primary: Database) -> Iterator[Standby]:
    with Standby(primary) as database:
        yield database


@pytest.fixture
def pair(
    primary: Database,
    standby: Standby,
    servers: Servers,
    amqp_url: str,
    provider: SandboxProcess,
    vhost_with_topology: str | None,
) -> Iterator[Stack]:
    """Give a stack that knows both servers, by libpq's form of a failover URL."""
    hosts = ",".join(urlsplit(each.url).netloc.partition("@")[2] for each in (primary, standby))
    url = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"
    with built(servers, Stack(amqp_url, url, provider), vhost_with_topology) as stack:
        yield stack


class Address(Proxy):
    """An address that moves to another server; sessions with the former one live on."""

    def __init__(self, server: Database) -> None:
        self.server = server
        """Where each new connection goes."""
        super().__init__(server.url)

    def destination(self) -> tuple[str, int]:
        """Return where the next connection goes."""
        return address(self.server.url)


def test_when_sessions_outlive_their_primary_then_they_are_given_up_for_the_new_one(
    pair: Stack, primary: Database, standby: Standby
) -> None:
    """The address led to the old primary as a standby for a while: it takes reads for ever."""
    is_followed(primary)
    load = Load(pair)
    with Address(primary) as moving:
        through = {"DATABASE_URL": moving.url, "HTTP_PORT": free_port()}
        worker = pair.start_worker(**PACE, **through)
        load.under_way(100)
        primary.stop()
        promote(standby)
        follow(primary, standby)
        until(lambda: "SQLSTATE 25006" in str(misses_database(worker)))
        moving.server = standby
        is_back(worker)
        load.all_is_counted(worker)


def test_when_the_last_commits_are_lost_then_nothing_is_paid_twice_and_all_is_announced(
    pair: Stack, primary: Database, standby: Standby
) -> None:
    """What was finished has its event and no row; what was held is written anew."""
    load = Load(pair, 100, "kept")
    worker = pair.start_worker(**PACE)
    until(lambda: pair.count() == 100 and not pair.unsent())
    is_followed(primary)
    cut_off(standby)
    load.name = "lost"
    load.under_way(100)
    primary.kill()
    promote(standby)
    is_back(worker)
    size = len(load.ids)
    until(lambda: pair.depth("collector") >= size and not pair.waiting())
    until(lambda: pair.count("open_requests") == 0)
    assert worker.stop() == 0
    charges, rows, events = pair.provider.charges(), pair.results(), pair.events()
    assert charges["charges"] == charges["calls"] == size
    outcomes = {(each["requestId"], each["eventId"], each["outcome"]) for each in events}
    assert sorted(name for name, _, _ in outcomes) == sorted(load.ids)
    assert {outcome for _, _, outcome in outcomes} == {"match"}
    lost = set(load.ids) - rows.keys()
    assert all(name.startswith("lost-") for name in lost)
    assert 100 <= len(lost) < size - 100
