"""The breaker thread: it parks the worker while the gate lets nothing through."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import structlog

from worker.core.breaker import Closed, Open, ParkReason, Probing
from worker.core.operations import Pause
from worker.pipeline.gate import Gate
from worker.pipeline.work import DatabaseAway, GateState, GateView
from worker.ports import Broker, Clock
from worker.telemetry.logs import LogEvent

# One delivery of a lane at a time while we find out whether the provider works again.
PROBE_PREFETCH = 1


@dataclass
class Parking:
    """Acts on what the gate says. `allow_calls` is told how many calls may be under way."""

    gate: Gate
    broker: Broker
    clock: Clock
    callers: int
    allow_calls: Callable[[int], None]

    def __post_init__(self) -> None:
        self._log = structlog.get_logger()
        self._seen = GateView(Closed(), self.callers)
        """What was acted on last."""

    def begin(self) -> None:
        """Park before anything is taken, where the gate is closed already."""
        self._seen = self.gate.view
        if not isinstance(self._seen.state, Closed):
            self._take_messages(self._seen.state)

    def run(self) -> None:
        """Follow the gate until it is shut down."""
        while (now := self.gate.await_change(self._seen)) is not None:
            if now.calls != self._seen.calls:
                self.allow_calls(now.calls)
            if type(now.state) is not type(self._seen.state):
                self._take_messages(now.state)
            if now.bulk is not self._seen.bulk:
                self.broker.allow_bulk(now.bulk)
                self._log.info(LogEvent.BULK_GOES_ON if now.bulk else LogEvent.BULK_BUDGET_SPENT)
            self._seen = now

    def _take_messages(self, state: GateState) -> None:
        """Stop consuming while no call may be made; then one message at a time; then all."""
        match state:
            case Closed():
                self.broker.resume()
                self._log.info(LogEvent.RESUMED)
            case Probing():
                self.broker.resume(PROBE_PREFETCH)
                self._log.info(LogEvent.PROBING, reason=state.reason)
            case Pause():
                self._park(ParkReason.PAUSED, because=state.reason, by=state.by)
            case DatabaseAway():
                self._park(ParkReason.DATABASE)
            case Open():
                facts = {"probe_in": round(state.until - self.clock.monotonic(), 1)}
                because = self.gate.because
                self._park(state.reason, **facts, **({"because": because} if because else {}))
            case _ as never:
                assert_never(never)

    def _park(self, reason: ParkReason, **facts: object) -> None:
        self.broker.pause()
        self._log.warning(LogEvent.PARKED, reason=reason, **facts)
