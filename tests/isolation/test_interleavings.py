"""Every pair of operations of the store, in every order of their statements, on a real server."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.isolation.stepper import Stepper, described, stepping
from tests.isolation.world import World
from worker.store.engine import open_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from tests.conftest import NewDatabase

ANYBODY = [
    World.work, World.work_in_quota, World.crash, World.work_under_new_key, World.settle_lapsed,
    World.relay, World.delete, World.clear, World.erase, World.pause,
]  # fmt: skip
LATE = {
    World.called_and_lapsed: [World.late_answer, World.late_doubt],
    World.claimed_and_lapsed: [World.late_without_call],
}
STATES = [World.empty, World.waiting, World.called_and_lapsed, World.claimed_and_lapsed,
          World.done, World.unsent]  # fmt: skip
TRIPLES = [
    (World.called_and_lapsed, World.late_answer, World.work, World.work),
    (World.called_and_lapsed, World.late_answer, World.work, World.settle_lapsed),
    (World.called_and_lapsed, World.late_doubt, World.work_in_quota, World.work),
    (World.claimed_and_lapsed, World.late_without_call, World.work, World.crash),
    (World.unsent, World.relay, World.relay, World.work),
]


def scenes() -> Iterator[tuple[Any, ...]]:
    """Yield a state and the operations that meet in it."""
    for state in STATES:
        own = LATE.get(state, [])
        for pair in combinations_with_replacement([*own, *ANYBODY], 2):
            if len(set(pair) & set(own)) < 2 and not (pair[0] is pair[1] and pair[0] in own):
                yield (state, *pair)
    yield from TRIPLES


@pytest.fixture(scope="module")
def database(new_database: NewDatabase) -> Iterator[str]:
    """Give a database of this module's own."""
    with new_database() as url:
        yield url


@pytest.fixture(scope="module")
def engines(database: str) -> Iterator[list[Engine]]:
    """Open a pool for each session."""
    opened = [open_engine(database, f"session {number}") for number in range(3)]
    for engine in opened:
        engine.connect().close()  # what SQLAlchemy asks a new connection is no step
    yield opened
    for engine in opened:
        engine.dispose()


@pytest.fixture(scope="module")
def sql(database: str) -> Iterator[psycopg.Connection[Any]]:
    """Open a session that looks and prepares."""
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def statements_stop() -> Iterator[None]:
    """Hold the sessions' statements."""
    with stepping():
        yield


@pytest.mark.parametrize("max_in_doubt_calls", [0, 1])
@pytest.mark.parametrize(
    "scene", list(scenes()), ids=lambda scene: "-".join(f.__name__ for f in scene)
)
def test_whatever_the_order_of_statements_the_promises_hold(
    scene: tuple[Any, ...],
    max_in_doubt_calls: int,
    engines: list[Engine],
    sql: psycopg.Connection[Any],
) -> None:
    state, *operations = scene
    world = World(engines, sql, max_in_doubt_calls)

    def prepare() -> list[tuple[str, Callable[[], None]]]:
        nonlocal world
        world = World(engines, sql, max_in_doubt_calls)
        state(world)
        return [
            (f"{number} {operation.__name__}", _on(world, operation, number))
            for number, operation in enumerate(operations)
        ]

    for steps in Stepper(sql).orders(prepare):
        try:
            world.finish()
            world.check()
        except AssertionError as broken:
            raise AssertionError(f"{broken}, {described(steps)}") from None


def _on(world: World, operation: Callable[[World, int], None], number: int) -> Callable[[], None]:
    return lambda: operation(world, number)
