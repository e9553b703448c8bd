"""Operations of the store that meet, in every order of their statements, on a real server.

HYPOTHESIS_PROFILE=long lets every operation meet every other one, and interrupts them at will.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations_with_replacement, product
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from tests.integration.store.upkeep import patient_engine
from tests.isolation.stepper import Stepper, described, stepping
from tests.isolation.world import World

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"

CLAIMS = [World.work, World.crash, World.work_in_quota, World.work_under_new_key]
CHORES = [World.settle_lapsed, World.relay, World.delete, World.clear, World.erase, World.pause]
LATE = {
    World.called_and_lapsed: [World.late_answer, World.late_doubt],
    World.claimed_and_lapsed: [World.late_without_call, World.repeat],
    World.claimed_in_budget: [World.late_without_call],
    World.vanished: [World.late_answer, World.late_doubt],
    World.set_back: [World.late_answer, World.late_doubt],
}
TOGETHER = {
    World.called_and_lapsed: [World.work, World.work_in_quota, World.settle_lapsed],
    World.empty: CLAIMS,
    World.waiting: [World.work, World.crash, World.work_under_new_key],
    World.done: [World.work, World.delete, World.clear, World.erase],
    World.unsent: [World.work, World.relay, World.erase],
}
TRIPLES = [
    (World.called_and_lapsed, World.late_answer, World.work, World.crash),
    (World.called_and_lapsed, World.late_answer, World.work, World.settle_lapsed),
    (World.claimed_and_lapsed, World.late_without_call, World.work_in_quota, World.crash),
    (World.unsent, World.relay, World.relay, World.work),
]


def scenes() -> Iterator[tuple[Any, ...]]:
    """Yield a limit of doubt, a state and the operations that meet in it."""
    for state, late in LATE.items():
        lapsed = state in (World.called_and_lapsed, World.claimed_and_lapsed)
        others = [*CLAIMS, World.settle_lapsed] if lapsed else [World.work, World.crash]
        for own, other in product(late, [*CLAIMS, *CHORES] if LONG else others):
            yield (1, state, own, other)
            if LONG or (lapsed and other in (World.work, World.crash)):
                yield (0, state, own, other)
    for state, operations in TOGETHER.items():
        among = [*CLAIMS, *CHORES] if LONG else operations
        yield from ((1, state, *pair) for pair in combinations_with_replacement(among, 2))
    yield from ((1, *triple) for triple in (TRIPLES if LONG else TRIPLES[1:2]))


@pytest.fixture(scope="module")
def engines(module_database: str) -> Iterator[list[Engine]]:
    opened = [patient_engine(module_database, f"session {number}") for number in range(3)]
    for engine in opened:
        engine.connect().close()  # what SQLAlchemy asks a new connection is no step
    yield opened
    for engine in opened:
        engine.dispose()


@pytest.fixture(scope="module")
def sql(module_database: str) -> Iterator[psycopg.Connection[Any]]:
    """Open a session that looks and prepares."""
    with psycopg.connect(module_database, autocommit=True) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def statements_stop() -> Iterator[None]:
    with stepping():
        yield


@pytest.mark.parametrize(
    "scene",
    list(scenes()),
    ids=lambda scene: "-".join(getattr(each, "__name__", str(each)) for each in scene),
)
def test_whatever_the_order_of_statements_the_promises_hold(
    scene: tuple[Any, ...], engines: list[Engine], sql: psycopg.Connection[Any]
) -> None:
    limit, state, *operations = scene
    world = World(engines, sql, limit)

    def prepare() -> list[tuple[str, Callable[[], None]]]:
        nonlocal world
        world = World(engines, sql, limit)
        state(world)
        return [
            (f"{number} {operation.__name__}", partial(operation, world, number))
            for number, operation in enumerate(operations)
        ]

    for steps in Stepper(sql, None if LONG else 2).orders(prepare):
        try:
            world.finish()
            world.check()
        except AssertionError as broken:
            raise AssertionError(f"{broken}, {described(steps)}") from None


def test_of_several_requests_of_the_same_data_one_is_paid(
    engines: list[Engine], sql: psycopg.Connection[Any]
) -> None:
    ids = ["onb-1", "onb-2"]
    world = World(engines, sql, 0)

    def prepare() -> list[tuple[str, Callable[[], None]]]:
        nonlocal world
        world = World(engines, sql, 0)
        world.same_data()
        return [(each, partial(world.ask_for, each, number)) for number, each in enumerate(ids)]

    for steps in Stepper(sql, None if LONG else 2).orders(prepare):
        for each in ids * 2:
            world.ask_for(each, 0)
        assert world.charges == 1, described(steps)
        ended = sql.execute("SELECT request_id FROM verification.request WHERE outcome = 'match'")
        assert sorted(name for (name,) in ended) == ids, described(steps)
