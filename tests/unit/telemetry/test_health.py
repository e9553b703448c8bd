"""Alive means that our own threads work; nobody else's absence is a reason to restart."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from worker.core.backlog import Backlog
from worker.telemetry.health_state import STUCK_SECONDS, HealthState, PipelineLevels


@dataclass
class FakeAmqp:
    """A session that says what a test wrote down; by default the broker is away."""

    running: bool = True
    late_by: float = 0.0
    lag: float = 0.5
    connected: bool = False
    consuming: bool = False
    blocked: bool = True
    unconfirmed: int = 7


@dataclass
class FakeStages:
    """A pipeline that has no database."""

    dead: list[str] = field(default_factory=list)
    database_answers: bool = False
    levels: PipelineLevels = field(
        default_factory=lambda: PipelineLevels("open", "quota", 0, 1, 0, 0)
    )


@dataclass
class FakeChores:
    """A thread that keeps stack."""

    running: bool = True


@dataclass
class FakeLooks:
    """A backlog_monitor."""

    backlog: Backlog | None = None
    failed: bool = True


class Patient:
    """A worker's vitals, with everything that can be wrong with it."""

    def __init__(self) -> None:
        self.amqp, self.stages, self.looks = FakeAmqp(), FakeStages(), FakeLooks()
        self.housekeeper = FakeChores()
        chores = {"housekeeper": self.housekeeper}
        self.vitals = HealthState(self.amqp, self.stages, chores, self.looks)


@pytest.fixture
def patient() -> Patient:
    """Begin the life of a worker."""
    patient = Patient()
    patient.vitals.begin()
    return patient


def test_a_worker_without_broker_database_and_provider_is_alive(patient: Patient) -> None:
    assert patient.vitals.dead() == []


def test_a_dead_thread_is_named(patient: Patient) -> None:
    patient.stages.dead = ["claimer", "foreman"]
    patient.housekeeper.running = False
    patient.amqp.running = False
    patient.amqp.late_by = 1000.0  # of course: it is dead
    assert patient.vitals.dead() == [
        "the thread claimer has ended",
        "the thread foreman has ended",
        "the thread amqp has ended",
        "the thread housekeeper has ended",
    ]


@pytest.mark.parametrize(
    ("late_by", "words"),
    [
        (STUCK_SECONDS - 0.1, []),
        (STUCK_SECONDS + 1.4, ["the amqp loop has not turned for 31 s"]),
    ],
)
def test_a_loop_that_does_not_turn_is_dead_after_a_while(
    patient: Patient, late_by: float, words: list[str]
) -> None:
    patient.amqp.late_by = late_by
    assert patient.vitals.dead() == words


def test_before_the_start_and_while_it_stops_threads_may_be_gone(patient: Patient) -> None:
    patient.stages.dead = ["claimer"]
    patient.vitals.end()
    assert patient.vitals.dead() == []
    fresh = Patient()
    fresh.amqp.running = False
    assert fresh.vitals.dead() == []


@pytest.mark.parametrize(
    ("answers", "failed", "up"), [(True, False, 1), (False, False, 0), (True, True, 0)]
)
def test_the_database_is_up_when_work_and_looks_reach_it(
    patient: Patient, answers: bool, failed: bool, up: int
) -> None:
    patient.stages.database_answers = answers
    patient.looks.failed = failed
    assert patient.vitals.levels().database_up == up


@pytest.mark.parametrize(
    ("backlog", "behind"), [(None, False), (Backlog(), False), (Backlog(schema_behind=True), True)]
)
def test_a_schema_is_behind_only_where_it_was_seen_to_be(
    patient: Patient, backlog: Backlog | None, behind: bool
) -> None:
    patient.looks.backlog = backlog
    assert patient.vitals.schema_behind is behind


def test_levels_are_read_as_they_are(patient: Patient) -> None:
    levels = patient.vitals.levels()
    assert (levels.unconfirmed, levels.lag, levels.blocked) == (7, 0.5, True)
    assert (levels.pipeline.parked, levels.backlog) == ("quota", None)
