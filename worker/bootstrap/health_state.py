"""`/livez`, `/readyz` and `/metrics`: is it alive, is it ready, how much is where.

A probe's answer says in words what is wrong; a worker that is parked is ready. Answers come from
memory, at once: nobody waits for a broker or a database here. Alive means that the threads are
there and the amqp loop turns. It never means that others answer: no restart helps against that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event

from worker.amqp.session import Session
from worker.core.breaker import Open, Probing
from worker.core.operations import WorkerState
from worker.core.request import Lane
from worker.maintenance.chores import BacklogMonitor
from worker.maintenance.housekeeper import Housekeeper
from worker.pipeline.gate import Gate
from worker.pipeline.runner import Pipeline
from worker.telemetry.gauges import Levels
from worker.telemetry.health_server import HealthAnswer
from worker.telemetry.metrics import Metrics

# One pass of the loop takes milliseconds, with the largest bodies tens of them. RabbitMQ gives a
# client up after two heartbeats, so a loop that late has lost its connections already.
STUCK_SECONDS = 30.0


@dataclass
class HealthState:
    """Asks all parts of one worker. Before `begin` and after `end` it counts as alive."""

    session: Session
    pipeline: Pipeline
    gate: Gate
    housekeepers: Sequence[Housekeeper]
    monitor: BacklogMonitor
    metrics: Metrics
    _works: Event = field(default_factory=Event)

    def begin(self) -> None:
        """Expect all threads to live from now on."""
        self._works.set()

    def end(self) -> None:
        """Expect them to end: how long that may take is not for a probe to say."""
        self._works.clear()

    def answer(self, path: str, accept: str) -> HealthAnswer:
        """Answer a probe or a scrape."""
        match path:
            case "/livez":
                return _words(self.dead())
            case "/readyz":
                return _words(self.not_ready(), self.parked() or self.without_bulk())
            case "/metrics":
                content_type, text = self.metrics.exposition(accept)
                return HealthAnswer(200, text, content_type)
            case _:
                return HealthAnswer(404, b"not found\n")

    def dead(self) -> list[str]:
        """Return in words what can only be cured by a restart; empty: it is alive."""
        if not self._works.is_set():
            return []
        session = self.session
        ended = [*self.pipeline.dead]
        ended += [] if session.running else ["amqp"]
        ended += [each.name for each in self.housekeepers if not each.running]
        words = [f"the thread {name} has ended" for name in ended]
        if session.running and (late := session.loop_lag.late_by) > STUCK_SECONDS:
            words.append(f"the amqp loop has not turned for {late:.0f} s")
        return words if self._works.is_set() else []

    def not_ready(self) -> list[str]:
        """Return in words what keeps the worker from being ready; a parked one is ready."""
        session, backlog = self.session, self.monitor.backlog
        consuming = session.consuming or self.gate.parked is not None
        database = self.pipeline.database_problem
        behind = backlog is not None and backlog.schema_behind
        broker = _because(session.problem)
        checks = {
            f"the broker is not connected{broker}": session.connected,
            f"no consumer is registered{broker if session.connected else ''}": consuming,
            f"the broker takes no publications{broker}": not session.blocked,
            f"the database does not answer{_because(database)}": database is None,
            "the schema is not at head: run `alembic upgrade head`": not behind,
        }
        return [words for words, holds in checks.items() if not holds]

    def parked(self) -> str | None:
        """Return in words why a worker that is ready takes no messages, or None."""
        if (parked := self.gate.parked) is None:
            return None
        return f"parked: {parked}" + (f" ({because})" if (because := self.gate.because) else "")

    def without_bulk(self) -> str | None:
        """Return in words why a worker that is ready takes nothing of the bulk lane, or None."""
        if self.session.consumes(Lane.BULK) or self.gate.parked is not None:
            return None
        if self.gate.bulk_closed_for is not None:
            return "live only: BULK_DAILY_CALL_BUDGET is spent"
        problem = self.session.bulk_problem
        return problem and f"live only: the bulk lane is not consumed: {problem}"

    def state(self) -> WorkerState:
        """Return what the worker says of itself in the registry."""
        parked, breaker, not_ready = self.parked(), self.gate.state, self.not_ready()
        state = "probing" if isinstance(breaker, Probing) else "parked"
        if parked is None:
            state = "not ready" if not_ready else "working"
        waits = isinstance(breaker, Open) and self.gate.parked is breaker.reason
        said = [parked.removeprefix("parked: ")] if parked else []
        if live_only := self.without_bulk():
            said.append(live_only)
        under_way, allowed = self.gate.calls
        return WorkerState(
            state,
            "; ".join([*said, *not_ready]) or None,
            self.gate.open_for if waits else None,
            self.pipeline.held,
            self.pipeline.claimed,
            under_way,
            allowed,
            self.metrics.letters_returned,
        )

    def levels(self) -> Levels:
        """Return what the worker is like now."""
        session, gate = self.session, self.gate
        under_way, allowed = gate.calls
        return Levels(
            messages_held=self.pipeline.held,
            requests_claimed=self.pipeline.claimed,
            calls_under_way=under_way,
            calls_allowed=allowed,
            breaker_state=type(gate.state).__name__.lower(),
            parked=gate.parked,
            settlements_unconfirmed=session.unconfirmed,
            amqp_loop_lag_seconds=session.loop_lag.lag,
            broker_connected=session.connected,
            broker_consuming=session.consuming,
            broker_blocked=session.blocked,
            database_up=self.pipeline.database_answers and not self.monitor.failed,
            backlog=self.monitor.backlog,
            server=self.monitor.server,
            clock_offset=self.monitor.clock_offset,
            lane_messages_held={lane: self.pipeline.held_of(lane) for lane in Lane},
            lane_consuming={lane: session.consumes(lane) for lane in Lane},
        )


def _because(problem: str | None) -> str:
    return f": {problem}" if problem else ""


def _words(wrong: list[str], right: str | None = None) -> HealthAnswer:
    words = "\n".join(wrong) or right or "ok"
    return HealthAnswer(503 if wrong else 200, f"{words}\n".encode())
