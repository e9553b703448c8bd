"""The catalogue of metrics: what happened (here) and how things stand (`gauges`).

What happened is counted once for a batch, on the thread that did it, into children that were
looked up at the start: some 3 µs a message. Every label's values are a closed list of codes, so no
metric ever holds an id, a source or anything of a person.
"""

from collections.abc import Callable, Sequence
from functools import partial
from time import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client import disable_created_metrics as _leave_out_times_of_creation
from prometheus_client.exposition import choose_encoder

from worker.core.claims import Entry
from worker.core.connecting import Unconnected
from worker.core.delivery import Settlement
from worker.core.outcome import BadMessage, CallClass, Charged, Complete, Outcome
from worker.core.request import Lane
from worker.core.retry import GIVEN_UP
from worker.telemetry.certificates import CertificateGauge
from worker.telemetry.gauges import Gauges

# A request waits for milliseconds or, over retries and outages, for hours.
_WAITS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 14400)
# CALL_DEADLINE is 25 s unless it is set; the provider answers in some 0.3 s.
_CALLS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2, 3, 5, 10, 20, 30, 60)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

# What becomes of a message without ending its request, and so why it comes again.
_COMES_AGAIN = {
    "held_elsewhere": "held_elsewhere",
    "handed_back": "parked",
    "unrecordable": "unrecordable",
    "retrying": None,  # the line says why
}
_ENDS = ("completed", "replayed", "fenced_out")
_OUTCOMES = tuple(each for each in Outcome if each is not Outcome.CONFLICT)
_OTHER = "other"

Children = dict[object, Counter]
"""Counters by their labels' values, of which StrEnums are as good as their text."""


class Metrics:
    """All metrics of one worker, in a registry of their own.

    `clock` returns seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time) -> None:
        # They double the number of series, and Prometheus uses none of them.
        _leave_out_times_of_creation()  # type: ignore[no-untyped-call]
        self._clock = clock
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        settled = counter(
            "verification_messages_settled_total",
            "Messages whose whole effect the broker has confirmed, by what became of them.",
            ["action", "outcome"],
        )
        retries = counter(
            "verification_retries_total",
            "Messages sent to a retry queue, by the reason.",
            ["reason"],
        )
        dead_letters = counter(
            "verification_dead_letters_total",
            "Messages put into verification.dead for a person to see, by the reason.",
            ["reason"],
        )
        self.letters_returned = 0
        """How many requests this worker has put back that the broker had given up."""
        self._returned = counter(
            "verification_requests_returned_total",
            "Requests that the broker had given up by its delivery limit, put back into the queue.",
        )
        self._oldest_dead_letter = Gauge(
            "verification_dead_letters_age_seconds",
            "Age of the oldest dead letter, from its first claim; 0 where there is none, and where "
            "this worker may not read them.",
            registry=registry,
        )
        calls = counter(
            "verification_calls_total",
            "Calls to the provider, by what became of them and whether they are charged.",
            ["call_class", "charged"],
        )
        not_sent = counter(
            "verification_calls_not_sent_total",
            "Calls of which no byte left, by why there was no connection to the provider.",
            ["because"],
        )
        charges = counter(
            "verification_charges_total",
            "Calls that the provider charges, by whether earlier calls for the same request were "
            "charged: yes or unknown means that one request is paid twice.",
            ["earlier"],
        )
        self._reused = counter(
            "verification_results_reused_total",
            "Requests that got the paid answer of another one, without a call (REUSE_RESULTS_FOR).",
        )
        call_seconds = histogram(
            "verification_call_seconds",
            "Seconds that a call waited for the provider, its repeats included.",
            ["call_class"],
            buckets=_CALLS,
        )
        critical = histogram(
            "verification_critical_time_seconds",
            "Seconds from a message's publication (AMQP timestamp, whole seconds; without one from "
            "its first delivery) to its confirmed event, by its lane: bulk can wait.",
            ["lane"],
            buckets=_WAITS,
        )
        self._critical = {lane: critical.labels(lane.value).observe for lane in Lane}
        self._claims = histogram(
            "verification_claim_batch_messages",
            "Messages in one claim transaction.",
            buckets=_BATCHES,
        )
        self._records = histogram(
            "verification_record_batch_messages",
            "Messages in one record transaction.",
            buckets=_BATCHES,
        )
        # A series that begins with its first event has no increase: alerts would miss the first.
        ends = [(action, each.value) for action in _ENDS for each in _OUTCOMES]
        others = [(action, "none") for action in (*_COMES_AGAIN, "dead_lettered")]
        named = [*ends, *others, ("conflict", "conflict")]
        self._settled: Children = {each: settled.labels(*each) for each in named}
        self._unnamed = settled.labels(_OTHER, "none")
        why = [*(each.value for each in CallClass), *filter(None, _COMES_AGAIN.values()), _OTHER]
        self._retries: Children = {each: retries.labels(each) for each in why}
        dead = sorted({*(each.value for each in GIVEN_UP), *map(str, BadMessage), _OTHER})
        self._dead_letters: Children = {each: dead_letters.labels(each) for each in dead}
        ended = [(one, other) for one in CallClass for other in Charged]
        self._calls = {each: calls.labels(each[0].value, each[1].value) for each in ended}
        self._not_sent = {each: not_sent.labels(each.value) for each in Unconnected}
        self._charges = {each: charges.labels(each.value) for each in Charged}
        self._seconds = {each: call_seconds.labels(each.value).observe for each in CallClass}

    def watch(self, *gauges: Gauges | CertificateGauge) -> None:
        """Show how things stand whenever somebody asks."""
        for each in gauges:
            self.registry.register(each)

    def exposition(self, accept: str) -> tuple[str, bytes]:
        """Return the content type and the text that a scraper with this Accept header takes."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self.registry)

    # What the pipeline does: once for a batch, at once, and none of these ever raises.

    def claimed(self, messages: int) -> None:
        """Count one claim of so many messages."""
        self._claims.observe(messages)

    def recorded(self, entries: Sequence[Entry]) -> None:
        """Count the calls that one record has saved; each entry comes once."""
        self._records.observe(len(entries))
        calls: dict[tuple[CallClass, Charged, Charged], int] = {}
        reused = 0
        for entry in entries:
            report = entry.report
            if report is None or not report.sends:
                reused += _is_reused(entry)
                continue
            key = report.call_class, report.charged, entry.granted.charged
            calls[key] = calls.get(key, 0) + 1
            self._seconds[report.call_class](report.seconds)
            if report.not_sent_because is not None:
                self._not_sent[report.not_sent_because].inc()
        self._reused.inc(reused)
        for (call_class, charged, earlier), count in calls.items():
            self._calls[call_class, charged].inc(count)
            if charged is Charged.YES:
                self._charges[earlier].inc(count)

    def returned(self) -> None:
        """Count one request that the broker had given up and that is in the queue again."""
        self._returned.inc()
        self.letters_returned += 1

    def oldest_dead_letter(self, seconds: float) -> None:
        """Show the age of the oldest dead letter; 0 where there is none."""
        self._oldest_dead_letter.set(seconds)

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Count what is published, confirmed and acknowledged."""
        now = self._clock()
        actions: dict[tuple[object, object], int] = {}
        for settlement in settlements:
            line = settlement.line
            # A message that was handed back unread has no line.
            action = line["action"] if line else "handed_back"
            key = action, line.get("outcome", "none")
            actions[key] = actions.get(key, 0) + 1
            if action in _COMES_AGAIN:
                reason = _COMES_AGAIN[action] or line["reason"]
                self._retries.get(reason, self._retries[_OTHER]).inc()
                continue
            delivery = settlement.delivery
            if delivery.published_at is not None:
                self._critical[delivery.lane](max(0.0, now - delivery.published_at))
            for publication in settlement.publications:
                # Of all that is published only dead letters have a reason.
                if publication.event_of is None and "reason" in publication.headers:
                    reason = publication.headers["reason"]
                    self._dead_letters.get(reason, self._dead_letters[_OTHER]).inc()
        for key, count in actions.items():
            self._settled.get(key, self._unnamed).inc(count)


def _is_reused(entry: Entry) -> bool:
    decision = entry.decision
    return isinstance(decision, Complete) and decision.result.reused_from is not None
