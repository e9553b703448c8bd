"""A release is replaced by the next under load, and taken back: nothing is lost or paid twice."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import pytest

from tests.conftest import alembic
from tests.e2e.harness import DEAD, REQUESTS, Process, Stack, request, until

# The worker of 0.1.0 as it was released, without examples, pages and what `run` never loads: what
# it claimed, recorded and published by is its code, and no copy of its statements could tell.
_RELEASED = Path(__file__).with_name("worker-0.1.0.tar.xz")
_SCHEMA = "0007"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the environment in which `python -m worker` is 0.1.0."""
    folder = tmp_path_factory.mktemp("release")
    with tarfile.open(_RELEASED) as archive:
        archive.extractall(folder, filter="data")
    release = {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    asked = [sys.executable, "-c", "import worker; print(worker.__file__)"]
    said = subprocess.run(asked, env={**os.environ, **release}, capture_output=True, check=True)
    assert said.stdout.decode().startswith(str(folder))
    return release


@pytest.mark.usefixtures("own_database_url")
def test_workers_of_the_release_before_are_replaced_under_load_and_come_back(
    stack: Stack, old: dict[str, str]
) -> None:
    alembic(stack.database_url, "downgrade", _SCHEMA)
    load = Load(stack)
    old_workers = [start(stack, old), start(stack, old)]
    load.go_on()
    alembic(stack.database_url, "upgrade", "head")
    load.go_on()
    new_workers = replace(load, old_workers, {})
    back = replace(load, new_workers, old)
    last = replace(load, back, {})
    until(lambda: stack.count() == len(load.ids) and not stack.unsent())
    until(lambda: stack.depth(REQUESTS) == 0)
    assert [each.stop() for each in last] == [0, 0]
    charges, events = stack.provider.charges(), stack.events()
    assert charges["charges"] == len(load.ids)
    assert charges["calls"] == stack.count("calls") > len(load.ids)
    assert {each["requestId"] for each in events} == set(load.ids)
    assert len({each["eventId"] for each in events}) == len(load.ids)
    assert {each["outcome"] for each in events} == {"match"}
    assert {each["charged"] for each in stack.results().values()} <= {"yes"}
    assert stack.depth(DEAD) == 0


class Load:
    """Requests that come on and on; `go_on` returns when the workers are at work again."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.ids: list[str] = []
        self._ids: Iterator[str] = (f"rolling-{number}" for number in count())

    def go_on(self) -> None:
        """Publish more than is finished meanwhile; two calls fail: others may take them up."""
        done, more = self.stack.count(), list(islice(self._ids, 150))
        self.ids += more
        self.stack.provider.play(latency=0.05, act="unavailable", calls=2)
        self.stack.publish_many(request(each) for each in more)
        until(lambda: self.stack.count() > done)


def start(stack: Stack, release: dict[str, str]) -> Process:
    """Start a worker of a release."""
    return stack.start_worker(CONCURRENCY="4", **release)


def replace(load: Load, workers: list[Process], release: dict[str, str]) -> list[Process]:
    """Replace each by one of another release, as a Deployment does: the new one first."""
    others = []
    for each in workers:
        others.append(start(load.stack, release))
        load.go_on()
        assert each.stop() == 0
    return others
