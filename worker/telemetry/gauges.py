"""How things stand, read from memory when somebody asks. What is not known has no sample."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric

from worker.core.breaker import ParkReason
from worker.core.operations import Backlog, DatabaseServer
from worker.core.request import Lane


@dataclass(frozen=True, slots=True)
class Levels:
    """What one worker is like at a moment; its gauges below say what each means."""

    held: int
    claimed: int
    calls_under_way: int
    calls_allowed: int
    breaker: str
    parked: ParkReason | None
    unconfirmed: int
    lag: float
    connected: bool
    consuming: bool
    blocked: bool
    database_up: bool
    backlog: Backlog | None
    server: DatabaseServer | None
    clock_offset: float
    held_of: Mapping[Lane, int]
    consumed: Mapping[Lane, bool]


_OF_THE_WORKER: dict[str, tuple[str, Callable[[Levels], float]]] = {
    "verification_messages_held": (
        "Messages that were delivered to this worker and are not acknowledged yet.",
        lambda levels: levels.held,
    ),
    "verification_requests_claimed": (
        "Requests with a lease of this worker's that are not recorded yet.",
        lambda levels: levels.claimed,
    ),
    "verification_calls_under_way": (
        "Calls to the provider that this worker has under way.",
        lambda levels: levels.calls_under_way,
    ),
    "verification_calls_allowed": (
        "Calls that this worker may have under way at once: CONCURRENCY, or fewer when throttled.",
        lambda levels: levels.calls_allowed,
    ),
    "verification_settlements_unconfirmed": (
        "Messages and events that wait for the broker's confirms.",
        lambda levels: levels.unconfirmed,
    ),
    "verification_amqp_loop_lag_seconds": (
        "The most by which the amqp loop was late in the last half minute to minute.",
        lambda levels: levels.lag,
    ),
    "verification_database_up": (
        "1 while the database answers this worker.",
        lambda levels: levels.database_up,
    ),
    "verification_broker_connected": (
        "1 while both connections to the broker are there.",
        lambda levels: levels.connected,
    ),
    "verification_broker_consuming": (
        "1 while the broker delivers to this worker; 0 also while it is parked.",
        lambda levels: levels.consuming,
    ),
    "verification_broker_blocked": (
        "1 while the broker takes no publications: a memory or disk alarm.",
        lambda levels: levels.blocked,
    ),
}

_OF_THE_BACKLOG: dict[str, tuple[str, Callable[[Backlog], float]]] = {
    "verification_outbox_events": (
        "Results whose event is not known to be sent, of all workers; counted up to 10,000.",
        lambda backlog: backlog.unsent_events,
    ),
    "verification_outbox_age_seconds": (
        "Seconds since the oldest result whose event is not known to be sent was saved.",
        lambda backlog: backlog.oldest_unsent,
    ),
    "verification_requests_lapsed": (
        "Requests of all workers whose lease has lapsed and that nobody has taken over.",
        lambda backlog: backlog.lapsed_requests,
    ),
    "verification_retention_overdue_seconds": (
        "Seconds that the oldest finished request is past CLEAR_ or DELETE_AFTER_DAYS; 0: none is.",
        lambda backlog: backlog.retention_overdue,
    ),
}

_BREAKER_STATES = ("closed", "open", "probing")


class Gauges:
    """A collector of prometheus-client; `levels` is asked once for each scrape."""

    def __init__(
        self,
        levels: Callable[[], Levels],
        budget: int,
        about: dict[str, str],
        bulk_budget: int = 0,
    ) -> None:
        self._levels = levels
        self._budget = budget
        self._bulk_budget = bulk_budget
        self._about = about

    def describe(self) -> list[Metric]:
        """Return no names: then none is asked for before the worker is built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return all gauges as they stand."""
        about = InfoMetricFamily("verification_build", "What runs here.")
        about.add_metric([], self._about)
        yield about
        levels = self._levels()
        for name, (meaning, value) in _OF_THE_WORKER.items():
            yield GaugeMetricFamily(name, meaning, float(value(levels)))
        yield _one_of(
            "verification_breaker_state",
            "1 for the state that the breaker in front of the provider is in.",
            "state",
            _BREAKER_STATES,
            levels.breaker,
        )
        yield _one_of(
            "verification_parked",
            "1 for the reason why this worker takes no messages.",
            "reason",
            ParkReason,
            levels.parked,
        )
        yield _by_lane(
            "verification_lane_messages_held",
            "Messages of a lane that were delivered to this worker and are not acknowledged yet.",
            levels.held_of,
        )
        yield _by_lane(
            "verification_lane_consuming",
            "1 while the broker delivers a lane to this worker; 0 also while it is parked.",
            levels.consumed,
        )
        if levels.server is not None:
            yield from _of_the_server(levels.server, levels.clock_offset)
        if levels.backlog is not None:
            yield from self._of_the_backlog(levels.backlog)

    def _of_the_backlog(self, backlog: Backlog) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "verification_schema_behind",
            "1 while the database lacks migrations that this worker needs.",
            float(backlog.schema_behind),
        )
        if backlog.schema_behind:
            return
        for name, (meaning, value) in _OF_THE_BACKLOG.items():
            yield GaugeMetricFamily(name, meaning, float(value(backlog)))
        if self._budget:
            meaning = "DAILY_CALL_BUDGET, of all workers."
            yield GaugeMetricFamily("verification_budget_calls", meaning, self._budget)
            meaning = "Calls of all workers on this day of Asia/Shanghai, against the budget."
            yield GaugeMetricFamily("verification_calls_today", meaning, backlog.calls_today)
            meaning = "Calls that all workers may still make on this day of Asia/Shanghai."
            left = max(0, self._budget - backlog.calls_today)
            yield GaugeMetricFamily("verification_budget_left_calls", meaning, left)
        if self._bulk_budget:
            meaning = "Calls that bulk may still make on this day (BULK_DAILY_CALL_BUDGET)."
            left = max(0, self._bulk_budget - backlog.bulk_calls_today)
            yield GaugeMetricFamily("verification_bulk_budget_left_calls", meaning, left)


def _of_the_server(server: DatabaseServer, clock_offset: float) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "verification_database_connections",
        "Connections to the database's server, of everybody.",
        server.connections,
    )
    yield GaugeMetricFamily(
        "verification_database_connections_limit",
        "Connections that the database's server takes, those for superusers left out.",
        server.connections_limit,
    )
    yield GaugeMetricFamily(
        "verification_clock_offset_seconds",
        "Seconds that this worker's clock is ahead of the database's, at least; below 0: behind.",
        clock_offset,
    )


def _by_lane(name: str, meaning: str, values: Mapping[Lane, float]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, meaning, labels=["lane"])
    for lane, value in values.items():
        gauge.add_metric([lane.value], float(value))
    return gauge


def _one_of(
    name: str, meaning: str, label: str, known: Iterable[str], now: str | None
) -> GaugeMetricFamily:
    """Return a gauge with a sample for each known value; 1 for the one of now."""
    gauge = GaugeMetricFamily(name, meaning, labels=[label])
    values = [str(each) for each in known]
    if now is not None and now not in values:
        values.append(str(now))
    for value in values:
        gauge.add_metric([value], float(value == now))
    return gauge
