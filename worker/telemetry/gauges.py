"""How things stand, read from memory when somebody asks. What is not known has no sample."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from pydantic import BaseModel, ConfigDict, Field

from worker.core.breaker import ParkReason
from worker.core.operations import Backlog, DatabaseServer
from worker.core.request import Lane


class _Gauges(BaseModel):
    """Numbers, each with the help text of the gauge of its name; None: not known.

    Where the source files are missing a gauge has no text, for it is read there.
    """

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    def families(self) -> Iterator[Metric]:
        """Yield a gauge for each field that is not left out."""
        for name, field in type(self).model_fields.items():
            if field.exclude:
                continue
            meaning, value = field.description or "", getattr(self, name)
            if name in _ONE_OF:
                label, known = _ONE_OF[name]
                yield _labelled(name, meaning, label, {each: each == value for each in known})
            elif isinstance(value, Mapping):
                yield _labelled(name, meaning, "lane", value)
            elif value is not None:
                yield GaugeMetricFamily(f"verification_{name}", meaning, float(value))


class Levels(_Gauges):
    """What one worker is like at a moment."""

    messages_held: int
    """Messages that were delivered to this worker and are not acknowledged yet."""
    requests_claimed: int
    """Requests with a lease of this worker's that are not recorded yet."""
    calls_under_way: int
    """Calls to the provider that this worker has under way."""
    calls_allowed: int
    """Calls that this worker may have under way at once: CONCURRENCY, or fewer when throttled."""
    settlements_unconfirmed: int
    """Messages and events that wait for the broker's confirms."""
    amqp_loop_lag_seconds: float
    """The most by which the amqp loop was late in the last half minute to minute."""
    database_up: bool
    """1 while the database answers this worker."""
    broker_connected: bool
    """1 while both connections to the broker are there."""
    broker_consuming: bool
    """1 while the broker delivers to this worker; 0 also while it is parked."""
    broker_blocked: bool
    """1 while the broker takes no publications: a memory or disk alarm."""
    breaker_state: str
    """1 for the state that the breaker in front of the provider is in."""
    parked: ParkReason | None
    """1 for the reason why this worker takes no messages."""
    lane_messages_held: Mapping[Lane, int]
    """Messages of a lane that were delivered to this worker and are not acknowledged yet."""
    lane_consuming: Mapping[Lane, bool]
    """1 while the broker delivers a lane to this worker; 0 also while it is parked."""
    server: DatabaseServer | None = Field(exclude=True)
    clock_offset: float = Field(exclude=True)
    backlog: Backlog | None = Field(exclude=True)


_ONE_OF: Mapping[str, tuple[str, Iterable[str]]] = {
    "breaker_state": ("state", ("closed", "open", "probing")),
    "parked": ("reason", ParkReason),
}
"""What has a sample for each known value, 1 for the one of now: its label, and the values."""


class _Server(_Gauges):
    database_connections: int
    """Connections to the database's server, of everybody."""
    database_connections_limit: int
    """Connections that the database's server takes, those for superusers left out."""
    clock_offset_seconds: float
    """Seconds that this worker's clock is ahead of the database's, at least; below 0: behind."""


class _Backlog(_Gauges):
    schema_behind: bool = False
    """1 while the database lacks migrations that this worker needs."""
    outbox_events: int | None = None
    """Results whose event is not known to be sent, of all workers; counted up to 10,000."""
    outbox_age_seconds: float | None = None
    """Seconds since the oldest result whose event is not known to be sent was saved."""
    requests_lapsed: int | None = None
    """Requests of all workers whose lease has lapsed and that nobody has taken over."""
    retention_overdue_seconds: float | None = None
    """Seconds that the oldest finished request is past CLEAR_ or DELETE_AFTER_DAYS; 0: none is."""
    budget_calls: int | None = None
    """DAILY_CALL_BUDGET, of all workers."""
    calls_today: int | None = None
    """Calls of all workers on this day of Asia/Shanghai, against the budget."""
    budget_left_calls: int | None = None
    """Calls that all workers may still make on this day of Asia/Shanghai."""
    bulk_budget_left_calls: int | None = None
    """Calls that bulk may still make on this day (BULK_DAILY_CALL_BUDGET)."""


@dataclass(frozen=True, slots=True, eq=False)
class Gauges:
    """A collector of prometheus-client; `levels` is asked once for each scrape.

    The budgets are of a day, 0 for none.
    """

    levels: Callable[[], Levels]
    budget: int
    about: dict[str, str]
    bulk_budget: int = 0

    def describe(self) -> list[Metric]:
        """Return no names: then none is asked for before the worker is built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return all gauges as they stand."""
        about = InfoMetricFamily("verification_build", "What runs here.")
        about.add_metric([], self.about)
        yield about
        levels = self.levels()
        yield from levels.families()
        if (server := levels.server) is not None:
            yield from _Server(
                database_connections=server.connections,
                database_connections_limit=server.connections_limit,
                clock_offset_seconds=levels.clock_offset,
            ).families()
        if levels.backlog is not None:
            yield from self._of_the_backlog(levels.backlog).families()

    def _of_the_backlog(self, backlog: Backlog) -> _Backlog:
        if backlog.schema_behind:
            return _Backlog(schema_behind=True)
        budget, bulk_budget = self.budget, self.bulk_budget
        bulk_left = max(0, bulk_budget - backlog.bulk_calls_today)
        return _Backlog(
            outbox_events=backlog.unsent_events,
            outbox_age_seconds=backlog.oldest_unsent,
            requests_lapsed=backlog.lapsed_requests,
            retention_overdue_seconds=backlog.retention_overdue,
            budget_calls=budget or None,
            calls_today=backlog.calls_today if budget else None,
            budget_left_calls=max(0, budget - backlog.calls_today) if budget else None,
            bulk_budget_left_calls=bulk_left if bulk_budget else None,
        )


def _labelled(name: str, meaning: str, label: str, samples: Mapping[str, float]) -> Metric:
    gauge = GaugeMetricFamily(f"verification_{name}", meaning, labels=[label])
    for value, number in samples.items():
        gauge.add_metric([str(value)], float(number))
    return gauge
