"""Is it alive, is it ready, how much is where: what probes and scrapes ask the whole worker.

Answers come from memory, at once: nobody waits for a broker or a database here. Alive means that
the threads are there and the amqp loop turns. It never means that others answer: no restart helps
against that.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.core.operations import Backlog

# One pass of the loop takes milliseconds, with the largest bodies tens of them. RabbitMQ gives a
# client up after two heartbeats, so a loop that late has lost its connections already.
STUCK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class PipelineLevels:
    """What is in the pipeline at a moment."""

    breaker: str
    """closed, open or probing."""
    parked: str | None
    """Why no messages are taken as usual."""
    calls_under_way: int
    calls_allowed: int
    claimed: int
    """Requests with a lease of ours that are not recorded yet."""
    held: int
    """Messages that the broker delivered and that are not acknowledged yet."""


@dataclass(frozen=True, slots=True)
class Levels:
    """What the worker is like at a moment."""

    pipeline: PipelineLevels
    unconfirmed: int
    lag: float
    connected: bool
    consuming: bool
    blocked: bool
    database_up: bool
    backlog: Backlog | None


class Amqp(Protocol):
    """What is asked of the broker's session (`worker.amqp`)."""

    @property
    def running(self) -> bool:
        """Whether its thread lives."""
        ...

    @property
    def late_by(self) -> float:
        """Seconds by which its loop is late now."""
        ...

    @property
    def lag(self) -> float:
        """The most by which it was late of late."""
        ...

    @property
    def connected(self) -> bool:
        """Whether both connections are there."""
        ...

    @property
    def consuming(self) -> bool:
        """Whether the broker has our consumer."""
        ...

    @property
    def blocked(self) -> bool:
        """Whether the broker takes no publications."""
        ...

    @property
    def unconfirmed(self) -> int:
        """What waits for the broker's confirms."""
        ...


class Stages(Protocol):
    """What is asked of the pipeline."""

    @property
    def levels(self) -> PipelineLevels:
        """What is in it."""
        ...

    @property
    def dead(self) -> list[str]:
        """Which of its threads have ended by themselves."""
        ...

    @property
    def database_answers(self) -> bool:
        """Whether no thread waits in vain for the database."""
        ...


class Chores(Protocol):
    """What is asked of a thread that keeps house."""

    @property
    def running(self) -> bool:
        """Whether its thread lives."""
        ...


class Looks(Protocol):
    """What is asked of the backlog_monitor."""

    @property
    def backlog(self) -> Backlog | None:
        """What it saw last."""
        ...

    @property
    def failed(self) -> bool:
        """Whether its last look was in vain."""
        ...


class HealthState:
    """Asks all parts of one worker. Before `begin` and after `end` it counts as alive."""

    def __init__(
        self, amqp: Amqp, stages: Stages, chores: Mapping[str, Chores], looks: Looks
    ) -> None:
        self._amqp = amqp
        self._stages = stages
        self._chores = chores
        self._looks = looks
        self._works = Event()

    def begin(self) -> None:
        """Expect all threads to live from now on."""
        self._works.set()

    def end(self) -> None:
        """Expect them to end: how long that may take is not for a probe to say."""
        self._works.clear()

    def dead(self) -> list[str]:
        """Return in words what can only be cured by a restart; empty: it is alive."""
        if not self._works.is_set():
            return []
        ended = [*self._stages.dead]
        ended += [] if self._amqp.running else ["amqp"]
        ended += [name for name, each in self._chores.items() if not each.running]
        words = [f"the thread {name} has ended" for name in ended]
        if self._amqp.running and (late := self._amqp.late_by) > STUCK_SECONDS:
            words.append(f"the amqp loop has not turned for {late:.0f} s")
        return words if self._works.is_set() else []

    @property
    def schema_behind(self) -> bool:
        """Whether the database is known to lack migrations that this worker needs."""
        backlog = self._looks.backlog
        return backlog is not None and backlog.schema_behind

    def levels(self) -> Levels:
        """Return what the worker is like now."""
        amqp = self._amqp
        return Levels(
            pipeline=self._stages.levels,
            unconfirmed=amqp.unconfirmed,
            lag=amqp.lag,
            connected=amqp.connected,
            consuming=amqp.consuming,
            blocked=amqp.blocked,
            database_up=self._stages.database_answers and not self._looks.failed,
            backlog=self._looks.backlog,
        )
