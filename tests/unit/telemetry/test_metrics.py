"""Everything that happens is counted once, under names from closed lists, and cheaply."""

import re
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.clock import START
from tests.fakes.messages import deliver, request, spec
from tests.fakes.verifier import fault
from tests.unit.pipeline.desk import Desk
from worker.core.breaker import ParkReason
from worker.core.delivery import Delivery, Settlement
from worker.core.operations import Backlog, DatabaseServer
from worker.core.outcome import CallClass, CallReport, Charged
from worker.core.request import Lane
from worker.deadletters.reading import UNREADABLE_REASONS
from worker.telemetry.certificates import CertificateGauge
from worker.telemetry.gauges import Gauges, Levels
from worker.telemetry.metrics import Metrics

NOW = START.timestamp()
LEVELS = Levels(
    messages_held=9,
    requests_claimed=5,
    calls_under_way=2,
    calls_allowed=32,
    breaker_state="closed",
    parked=None,
    settlements_unconfirmed=3,
    amqp_loop_lag_seconds=0.25,
    broker_connected=True,
    broker_consuming=True,
    broker_blocked=False,
    database_up=True,
    backlog=Backlog(
        unsent_events=4,
        oldest_unsent=7.5,
        lapsed_requests=1,
        calls_today=60,
        retention_overdue=9.0,
    ),
    server=DatabaseServer(START, connections=12, connections_limit=97),
    clock_offset=-0.5,
    lane_messages_held={Lane.LIVE: 6, Lane.BULK: 3},
    lane_consuming={Lane.LIVE: True, Lane.BULK: False},
)


class Counted:
    """A desk whose work is counted as the pipeline has it counted."""

    def __init__(self, desk: Desk | None = None) -> None:
        self.desk = desk or Desk()
        self.metrics = Metrics(clock=lambda: NOW)

    def work(self, *deliveries: Delivery) -> list[Settlement]:
        desk, metrics = self.desk, self.metrics
        admission = desk.admit(*deliveries)
        metrics.claimed(len(deliveries))
        finished = [*admission.finished, *(desk.call(task) for task in admission.tasks)]
        settlements = admission.settlements + desk.flow.record(finished, ())
        if finished:
            metrics.recorded([each.entry for each in finished])
        metrics.settled(settlements)
        return settlements

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """Return a metric's samples that are not 0, by the values of their labels."""
        return {
            tuple(labels.values()): value
            for sample, labels, value in samples(self.metrics)
            if sample == name and value
        }


def samples(metrics: Metrics) -> list[tuple[str, dict[str, str], float]]:
    text = metrics.exposition("text/plain")[1].decode()
    families = text_string_to_metric_families(text)
    return [(each.name, each.labels, each.value) for family in families for each in family.samples]


def watched(levels: Levels = LEVELS, budget: int = 0) -> dict[str, float]:
    """Return the gauges of these levels, by name and label."""
    metrics = Metrics()
    metrics.watch(Gauges(lambda: levels, budget, {"version": "1.2.3"}))
    return {
        name + "".join(f"/{value}" for value in labels.values()): value
        for name, labels, value in samples(metrics)
    }


WRONG = request("b", personalSpec=spec(idCard="110105194912310021"))


@pytest.mark.parametrize(
    ("script", "batches", "counted"),
    [
        # One message, one call and one charge each.
        ([], [[request("a"), request("b")]], {
            "messages_settled_total": {("completed", "match"): 2},
            "calls_total": {("answered", "yes"): 2},
            "charges_total": {("no",): 2},
            "call_seconds_count": {("answered",): 2},
            "call_seconds_sum": {("answered",): 0.5},
            "claim_batch_messages_sum": {(): 2},
            "record_batch_messages_sum": {(): 2},
            "retries_total": {},
            "dead_letters_total": {},
        }),
        # A replay and a request that fails the checks are no calls.
        ([], [[request("a")], [request("a")], [WRONG]], {
            "messages_settled_total":
                {("completed", "match"): 1, ("replayed", "match"): 1, ("completed", "rejected"): 1},
            "calls_total": {("answered", "yes"): 1},
            "record_batch_messages_count": {(): 2},
        }),
        # A failed call is a retry by its class.
        ([fault(CallClass.UNAVAILABLE)], [[request("a")]], {
            "retries_total": {("unavailable",): 1},
            "calls_total": {("unavailable", "no"): 1},
        }),
        # A charge after one in doubt counts as paid twice.
        ([fault(CallClass.IN_DOUBT, Charged.UNKNOWN)], [[request("a")], [request("a")]], {
            "charges_total": {("unknown",): 1},
            "calls_total": {("in_doubt", "unknown"): 1, ("answered", "yes"): 1},
        }),
        # Dead letters are counted by their reason.
        ([fault(CallClass.PROTOCOL_ERROR)], [[b"nothing", request("a")]], {
            "dead_letters_total": {("not_json",): 1, ("protocol_error",): 1},
            "messages_settled_total": {("dead_lettered", "none"): 1, ("completed", "failed"): 1},
        }),
    ],
)  # fmt: skip
def test_what_becomes_of_messages_is_counted(
    script: list[CallReport],
    batches: list[list[Any]],
    counted: dict[str, dict[tuple[str, ...], float]],
) -> None:
    found = Counted(Desk(*script))
    for batch in batches:
        found.work(*map(deliver, batch))
    assert {name: found.samples(f"verification_{name}") for name in counted} == counted


def test_an_answer_that_is_given_again_is_no_call_and_counted_as_reused() -> None:
    counted = Counted()
    counted.work(deliver(request("a")))
    for name in ("b", "c"):
        counted.desk.ledger.reuse[name] = counted.desk.row("a").done().stored
        counted.work(deliver(request(name)))
    assert counted.samples("verification_messages_settled_total") == {("completed", "match"): 3}
    assert counted.samples("verification_calls_total") == {("answered", "yes"): 1}
    assert counted.samples("verification_results_reused_total") == {(): 2}


def test_an_intent_that_was_not_tried_is_no_call() -> None:
    counted = Counted()
    (task,) = counted.desk.admit(deliver()).tasks
    counted.metrics.recorded([counted.desk.flow.decide(task, None).entry])
    assert counted.samples("verification_calls_total") == {}


def test_every_reason_that_a_dead_letter_is_read_with_has_its_series_from_the_start() -> None:
    text = Metrics().exposition("")[1].decode()
    shown = set(re.findall(r'verification_dead_letters_total\{reason="(\w+)"\}', text))
    assert shown >= UNREADABLE_REASONS


def test_what_comes_again_has_no_critical_time_yet() -> None:
    counted = Counted()
    counted.metrics.settled(counted.desk.flow.settling.hand_back([deliver()], 3.0))
    assert counted.samples("verification_retries_total") == {("parked",): 1}
    counted = Counted(Desk(fault(CallClass.UNAVAILABLE)))
    (retry,) = counted.work(deliver(request("a"), published_at=NOW - 20.5))
    assert retry.publications[0].timestamp == int(NOW - 20.5)
    assert counted.samples("verification_critical_time_seconds_count") == {}


@pytest.mark.parametrize(
    ("published_at", "count", "total"),
    [
        (NOW - 90.5, 1.0, 90.5),
        (NOW + 5, 1.0, None),  # the clocks disagree: no time at all, never a negative one
        (None, None, None),
    ],
)
def test_the_critical_time_is_from_the_publication_to_the_confirmed_event(
    published_at: float | None, count: float | None, total: float | None
) -> None:
    counted = Counted()
    counted.work(deliver(request("a"), published_at=published_at))
    assert counted.samples("verification_critical_time_seconds_count").get(("live",)) == count
    assert counted.samples("verification_critical_time_seconds_sum").get(("live",)) == total


def test_what_has_no_name_yet_is_counted_as_other_and_adds_no_series() -> None:
    metrics = Metrics()
    before = len(samples(metrics))
    metrics.settled([Settlement(deliver(), (), {"action": "invented", "request_id": "x"})])
    retried = {"action": "retrying", "reason": "invented"}
    metrics.settled([Settlement(deliver(), (), retried)])
    assert len(samples(metrics)) == before
    found = [each for each in samples(metrics) if each[2] == 1 and each[0].endswith("_total")]
    assert [labels for _, labels, _ in found] == [
        {"action": "retrying", "outcome": "none"},
        {"action": "other", "outcome": "none"},
        {"reason": "other"},
    ]


def test_gauges_say_how_things_stand() -> None:
    shown = {
        name.removeprefix("verification_"): value
        for name, value in watched().items()
        if value and name.startswith("verification_")
    }
    assert shown == {
        "build_info/1.2.3": 1,
        "messages_held": 9,
        "requests_claimed": 5,
        "calls_under_way": 2,
        "calls_allowed": 32,
        "settlements_unconfirmed": 3,
        "amqp_loop_lag_seconds": 0.25,
        "database_up": 1,
        "broker_connected": 1,
        "broker_consuming": 1,
        "outbox_events": 4,
        "outbox_age_seconds": 7.5,
        "requests_lapsed": 1,
        "retention_overdue_seconds": 9,
        "database_connections": 12,
        "database_connections_limit": 97,
        "clock_offset_seconds": -0.5,
        "lane_messages_held/live": 6,
        "lane_messages_held/bulk": 3,
        "lane_consuming/live": 1,
        "breaker_state/closed": 1,
    }


OF_THE_DATABASE = (
    "outbox_events outbox_age_seconds requests_lapsed calls_today budget_calls budget_left_calls"
    " schema_behind retention_overdue_seconds database_connections database_connections_limit"
    " clock_offset_seconds"
).split()


@pytest.mark.parametrize(
    ("levels", "budget", "shown"),
    [
        ({"breaker_state": "open", "parked": ParkReason.CREDENTIALS}, 0,
         {"parked/credentials": 1, "breaker_state/open": 1, "parked/quota": 0}),
        ({}, 0, dict.fromkeys(["budget_calls", "calls_today", "budget_left_calls"])),
        ({}, 100, {"budget_calls": 100, "calls_today": 60, "budget_left_calls": 40}),
        ({"backlog": Backlog(calls_today=130)}, 100, {"budget_left_calls": 0}),
        # What the database does not say has no sample.
        ({"backlog": None, "server": None, "database_up": False}, 100,
         {"database_up": 0, **dict.fromkeys(OF_THE_DATABASE)}),
        ({"backlog": Backlog(schema_behind=True)}, 100,
         {"schema_behind": 1, "outbox_events": None}),
    ],
)  # fmt: skip
def test_gauges_are_there_where_there_is_something_to_say(
    levels: dict[str, Any], budget: int, shown: dict[str, float | None]
) -> None:
    gauges = watched(LEVELS.model_copy(update=levels), budget)
    assert {name: gauges.get(f"verification_{name}") for name in shown} == shown


def test_every_metric_has_a_help_text_and_a_name_as_the_field_wants_it() -> None:
    metrics = Metrics()
    metrics.watch(Gauges(lambda: LEVELS, 100, {"version": "1"}), CertificateGauge({}))
    families = list(metrics.registry.collect())
    assert len(families) >= 30
    for family in families:
        assert re.fullmatch(r"(verification|process)(_[a-z]+)+", family.name), family.name
        if family.name.startswith("verification_"):
            assert re.fullmatch(r"[A-Z1].*\.", family.documentation), family.name


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=1.0.0", "text/plain"])
def test_both_formats_are_served(accept: str) -> None:
    content_type, text = Metrics().exposition(accept)
    assert content_type.startswith(accept.partition(";")[0])
    assert text.endswith(b"# EOF\n") == accept.startswith("application/openmetrics")
    assert b"_created" not in text


def test_what_happens_is_counted_without_looking_up_a_label(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A look-up costs 1 to 2 µs; all that a message costs are some 3."""
    counted = Counted(Desk(fault(CallClass.UNAVAILABLE)))
    monkeypatch.delattr(MetricWrapperBase, "labels")
    counted.work(deliver(request("a"), published_at=NOW), deliver(b"nothing"), deliver())
