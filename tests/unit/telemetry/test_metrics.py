"""Everything that happens is counted once, under names from closed lists, and cheaply."""

import re

import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.clock import START
from tests.fakes.messages import deliver, request, spec
from tests.fakes.verifier import MATCH, fault
from tests.unit.pipeline.desk import Desk
from worker.core.breaker import ParkReason
from worker.core.delivery import Delivery, Settlement
from worker.core.operations import Backlog, DatabaseServer
from worker.core.outcome import CallClass, Charged
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
        """Take a batch to its settlements."""
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
    """Return what a scrape sees."""
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


def test_a_match_is_one_message_one_call_and_one_charge() -> None:
    counted = Counted()
    counted.work(deliver(request("a")), deliver(request("b")))
    assert counted.samples("verification_messages_settled_total") == {("completed", "match"): 2}
    assert counted.samples("verification_calls_total") == {("answered", "yes"): 2}
    assert counted.samples("verification_charges_total") == {("no",): 2}
    assert counted.samples("verification_call_seconds_count") == {("answered",): 2}
    assert counted.samples("verification_call_seconds_sum") == {("answered",): 0.5}
    assert counted.samples("verification_claim_batch_messages_sum") == {(): 2}
    assert counted.samples("verification_record_batch_messages_sum") == {(): 2}
    assert counted.samples("verification_retries_total") == {}
    assert counted.samples("verification_dead_letters_total") == {}


def test_a_replay_and_a_request_that_fails_the_checks_are_no_calls() -> None:
    counted = Counted()
    for _ in range(2):
        counted.work(deliver(request("a")))
    counted.work(deliver(request("b", personalSpec=spec(idCard="110105194912310021"))))
    settled = {("completed", "match"): 1, ("replayed", "match"): 1, ("completed", "rejected"): 1}
    assert counted.samples("verification_messages_settled_total") == settled
    assert counted.samples("verification_calls_total") == {("answered", "yes"): 1}
    assert counted.samples("verification_record_batch_messages_count") == {(): 2}


def test_an_answer_that_is_given_again_is_no_call_and_counted_as_reused() -> None:
    counted = Counted()
    counted.work(deliver(request("a")))
    for name in ("b", "c"):
        counted.desk.ledger.reuse[name] = counted.desk.row("a").done().stored
        counted.work(deliver(request(name)))
    assert counted.samples("verification_messages_settled_total") == {("completed", "match"): 3}
    assert counted.samples("verification_calls_total") == {("answered", "yes"): 1}
    assert counted.samples("verification_results_reused_total") == {(): 2}


def test_a_failed_call_is_a_retry_by_its_class_and_an_intent_that_was_not_tried_is_no_call() -> (
    None
):
    counted = Counted(Desk(fault(CallClass.UNAVAILABLE)))
    counted.work(deliver(request("a")))
    assert counted.samples("verification_retries_total") == {("unavailable",): 1}
    assert counted.samples("verification_calls_total") == {("unavailable", "no"): 1}
    (task,) = counted.desk.admit(deliver(request("b"))).tasks
    counted.metrics.recorded([counted.desk.flow.decide(task, None).entry])
    assert counted.samples("verification_calls_total") == {("unavailable", "no"): 1}


def test_a_charge_after_one_in_doubt_counts_as_paid_twice() -> None:
    counted = Counted(Desk(fault(CallClass.IN_DOUBT, Charged.UNKNOWN), MATCH))
    for _ in range(2):
        counted.work(deliver(request("a")))
    assert counted.samples("verification_charges_total") == {("unknown",): 1}
    calls = counted.samples("verification_calls_total")
    assert calls == {("in_doubt", "unknown"): 1, ("answered", "yes"): 1}


def test_dead_letters_are_counted_by_their_reason() -> None:
    doubt = fault(CallClass.IN_DOUBT, Charged.UNKNOWN)
    counted = Counted(Desk(doubt, max_in_doubt_calls=0))
    counted.work(deliver(b"nothing"), deliver(request("a")))
    dead = counted.samples("verification_dead_letters_total")
    assert dead == {("not_json",): 1, ("in_doubt",): 1}
    settled = counted.samples("verification_messages_settled_total")
    assert settled == {("dead_lettered", "none"): 1, ("completed", "failed"): 1}


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


def test_a_parked_worker_says_why() -> None:
    gauges = watched(
        LEVELS.model_copy(update={"breaker_state": "open", "parked": ParkReason.CREDENTIALS})
    )
    shown = {name for name, value in gauges.items() if value == 1 and "/" in name}
    assert shown >= {"verification_parked/credentials", "verification_breaker_state/open"}
    assert "verification_parked/quota" not in shown


def test_a_budget_is_shown_where_there_is_one() -> None:
    assert not [name for name in watched() if re.search("n_budget|_today", name)]
    gauges = watched(budget=100)
    assert gauges["verification_budget_calls"] == 100
    assert gauges["verification_calls_today"] == 60
    assert gauges["verification_budget_left_calls"] == 40
    spent = LEVELS.model_copy(update={"backlog": Backlog(calls_today=130)})
    assert watched(spent, budget=100)["verification_budget_left_calls"] == 0


def test_what_the_database_does_not_say_has_no_sample() -> None:
    gauges = watched(
        LEVELS.model_copy(update={"backlog": None, "server": None, "database_up": False}),
        budget=100,
    )
    assert gauges["verification_database_up"] == 0
    words = ("outbox", "lapsed", "_calls_today", "n_budget", "schema", "overdue", "_conn", "clock")
    gauges.pop("verification_broker_connected")
    assert not [name for name in gauges if any(word in name for word in words)]


def test_a_schema_that_is_behind_is_all_that_is_said_of_the_books() -> None:
    gauges = watched(LEVELS.model_copy(update={"backlog": Backlog(schema_behind=True)}), budget=100)
    assert gauges["verification_schema_behind"] == 1
    assert "verification_outbox_events" not in gauges


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
