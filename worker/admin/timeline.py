"""A request's history in words: what happened when, and where it stands. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.admin.cells import duration
from worker.contract.names import retry_queue, rfc3339
from worker.core.claims import Granted
from worker.core.connecting import Unconnected, words
from worker.core.operations import CallRecord, History
from worker.core.outcome import CallClass, CallReport, Charged, RetryLater
from worker.core.request import Lane
from worker.core.retry import RetryPolicy, decide

# Behind other messages a retry comes later than its queue says; this much later it is no delay.
OVERDUE = timedelta(minutes=5)
_NOT_SENT = {each.value: words(each, "PROVIDER") for each in Unconnected}
# What the outbox calls unsent (`store.outbox`): before that the main line is at it.
ON_ITS_WAY = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline."""

    at: datetime
    event: str
    details: str


def timeline(history: History, delays: tuple[int, ...]) -> list[Moment]:
    """Return what happened to a request, in order; `delays` are the retry queues' seconds."""
    moments = [*_beginning(history), *_calls(history, delays), *_end(history)]
    return sorted(moments, key=lambda moment: moment.at)


def _beginning(history: History) -> Iterator[Moment]:
    kind = "no check type" if history.check_type is None else f"check type {history.check_type}"
    facts = f"source {history.source}, {kind}, {history.mode}"
    bulk = ", bulk lane" if history.lane is Lane.BULK else ""
    yield Moment(history.requested_at, "first claimed", facts + bulk)
    if history.expires_at is not None:
        yield Moment(history.expires_at, "deadline", "after this no call is made")
    if history.lease_until is not None and history.lease_until < history.read_at:
        yield Moment(history.lease_until, "lease lapsed", f"worker {history.lease_owner}")


def _calls(history: History, delays: tuple[int, ...]) -> Iterator[Moment]:
    before: CallRecord | None = None
    for call in history.calls:
        if before is not None and before.finished_at is not None:
            yield _wait(before.finished_at, call, delays, history.lane)
        yield Moment(call.started_at, f"call {call.number} started", f"worker {call.worker}")
        if call.finished_at is not None:
            event = "in doubt" if call.call_class is CallClass.IN_DOUBT else "finished"
            yield Moment(call.finished_at, f"call {call.number} {event}", _call_facts(call))
        before = call


def _wait(since: datetime, call: CallRecord, delays: tuple[int, ...], lane: Lane) -> Moment:
    waited = call.started_at - since
    passed = [delay for delay in delays if delay <= waited.total_seconds() + 0.5]
    way = f" by {retry_queue(passed[-1], lane)}" if passed else ""
    return Moment(since, "waited", f"{duration(waited)} for call {call.number}{way}")


def _call_facts(call: CallRecord) -> str:
    facts = [str(call.call_class)]
    if call.not_sent_because is not None:
        code = call.not_sent_because
        facts.append(f"{code} ({_NOT_SENT[code]})" if code in _NOT_SENT else code)
    if call.http_status is not None:
        facts.append(f"HTTP {call.http_status}")
    if call.status is not None:
        facts.append(call.status)
    facts.append(f"charged {call.charged}")
    if call.milliseconds is not None:
        facts.append(f"{call.milliseconds} ms")
    if call.sends > 1:
        facts.append(f"sent {call.sends} times")
    if call.provider_request_id is not None:
        facts.append(f"provider's id {call.provider_request_id}")
    return ", ".join(facts)


def _end(history: History) -> Iterator[Moment]:
    if history.completed_at is not None:
        reason = ""
        if history.reused_from is not None:
            reason = f", reused the answer of {history.reused_from}"
        elif history.error_kind is not None:
            fields = [f"{each.field} {each.problem}" for each in history.error_fields]
            named = f": {'; '.join(fields)}" if fields else ""
            reason = f" ({history.error_kind}): {history.error_message}{named}"
        yield Moment(history.completed_at, "outcome saved", f"{history.outcome}{reason}")
    if history.event_sent_at is not None:
        yield Moment(history.event_sent_at, "event sent", "the broker has it for whoever is bound")
    if history.settled_at is not None:
        yield Moment(history.settled_at, "message settled", "all that it caused is confirmed")
    if history.cleared_at is not None:
        yield Moment(history.cleared_at, "cleared", "masks, digest and context are gone")


def verdict(history: History, delays: tuple[int, ...]) -> str:
    """Return where a request stands, in one line."""
    if history.state == "done":
        kind = "" if history.error_kind is None else f" ({history.error_kind})"
        return f"finished: {history.outcome}{kind}, {_charges(history)}; {_event(history)}"
    if history.state == "working":
        return _working(history)
    doubts = f"; {_charges(history)}" if history.in_doubt_calls else ""
    return f"waiting: {_return(history, delays)}{doubts}"


def _charges(history: History) -> str:
    certain = sum(call.charged is Charged.YES for call in history.calls)
    perhaps = sum(call.charged is Charged.UNKNOWN for call in history.calls)
    counts = {"charged": certain, "charge unknown": perhaps}
    told = ", ".join(f"{kind} {_times(count)}" for kind, count in counts.items() if count)
    # An owner may have trimmed the table of calls: then the row's own word counts.
    of_row = {Charged.YES: "charged", Charged.NO: "not charged"}
    return told or of_row.get(history.charged, "charge unknown")


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _event(history: History) -> str:
    if history.event_sent_at is not None:
        return "event sent"
    if history.completed_at is not None and history.read_at - history.completed_at < ON_ITS_WAY:
        return "event on its way"
    return "event not known to be sent: the workers' relay or `outbox flush` sends it"


def _working(history: History) -> str:
    until = "?" if history.lease_until is None else rfc3339(history.lease_until, "seconds")
    call = history.open_call
    if history.lease_until is not None and history.lease_until >= history.read_at:
        about = "" if call is None else f"; call {call.number} is under way"
        return f"working: held by worker {history.lease_owner} until {until} (lease){about}"
    if call is None:
        return (
            f"waiting: worker {history.lease_owner} stopped before a call (lease lapsed {until}); "
            "its message comes again"
        )
    return (
        f"in doubt: worker {history.lease_owner} stopped during call {call.number} (lease lapsed"
        f" {until}): its charge is unknown, and it is repeated at most MAX_IN_DOUBT_CALLS times"
        " when its message comes again"
    )


def _return(history: History, delays: tuple[int, ...]) -> str:
    """Say when the message is due: as `decide` decided, where settings and outages let it know."""
    last = history.calls[-1] if history.calls else None
    delay = delays[0] if last is None else _delay(history, last, delays)
    since = history.requested_at if last is None else last.finished_at or last.started_at
    due = since + timedelta(seconds=delay)
    queue, when = retry_queue(delay, history.lane), rfc3339(due, "seconds")
    if history.read_at > due + OVERDUE:
        return f"its message was due from {queue} at {when}: it is queued behind others, or gone"
    return f"next attempt when the message returns from {queue}, about {when}"


def _delay(history: History, last: CallRecord, delays: tuple[int, ...]) -> int:
    report = CallReport(last.call_class or CallClass.IN_DOUBT, last.charged)
    granted = Granted(
        history.request_id,
        grant=0,
        call_number=last.number,
        attempts=max(0, history.attempts - 1),
        calls=len(history.calls),
        in_doubt_calls=0,
        charged=Charged.NO,
        requested_at=history.requested_at,
    )
    decision = decide(report, granted, RetryPolicy(delays, max_in_doubt_calls=1))
    return decision.delay if isinstance(decision, RetryLater) else delays[0]
