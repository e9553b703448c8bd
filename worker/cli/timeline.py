"""A request's story in words: what happened when, and where it stands. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from worker.cli.tables import duration, iso
from worker.contract.names import RETRY_PREFIX
from worker.core.claims import Granted
from worker.core.outcome import CallClass, CallReport, Charged
from worker.core.retry import RetryLater, RetryPolicy, decide
from worker.settings import delay_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from worker.core.story import CallRecord, Story

# Behind other messages a retry comes later than its queue says; this much later it is no delay.
OVERDUE = timedelta(minutes=5)
# What the outbox calls unsent (`store.outbox`): before that the main line is at it.
ON_ITS_WAY = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline."""

    at: datetime
    event: str
    details: str


def timeline(story: Story, delays: tuple[int, ...]) -> list[Moment]:
    """Return what happened to a request, in order; `delays` are the retry queues' seconds."""
    moments = [*_beginning(story), *_calls(story, delays), *_end(story)]
    return sorted(moments, key=lambda moment: moment.at)


def _beginning(story: Story) -> Iterator[Moment]:
    kind = "no check type" if story.check_type is None else f"check type {story.check_type}"
    yield Moment(
        story.requested_at, "first claimed", f"source {story.source}, {kind}, {story.mode}"
    )
    if story.expires_at is not None:
        yield Moment(story.expires_at, "deadline", "after this no call is made")
    if story.lease_until is not None and story.lease_until < story.read_at:
        yield Moment(story.lease_until, "lease lapsed", f"worker {story.lease_owner}")


def _calls(story: Story, delays: tuple[int, ...]) -> Iterator[Moment]:
    before: CallRecord | None = None
    for call in story.calls:
        if before is not None and before.finished_at is not None:
            yield _wait(before.finished_at, call, delays)
        yield Moment(call.started_at, f"call {call.number} started", f"worker {call.worker}")
        if call.finished_at is not None:
            event = "in doubt" if call.call_class is CallClass.IN_DOUBT else "finished"
            yield Moment(call.finished_at, f"call {call.number} {event}", _call_facts(call))
        before = call


def _wait(since: datetime, call: CallRecord, delays: tuple[int, ...]) -> Moment:
    waited = call.started_at - since
    passed = [delay for delay in delays if delay <= waited.total_seconds() + 0.5]
    way = f" by {_queue(passed[-1])}" if passed else ""
    return Moment(since, "waited", f"{duration(waited)} for call {call.number}{way}")


def _call_facts(call: CallRecord) -> str:
    facts = [str(call.call_class)]
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


def _end(story: Story) -> Iterator[Moment]:
    if story.completed_at is not None:
        reason = "" if story.error_kind is None else f" ({story.error_kind}): {story.error_message}"
        if story.reused_from is not None:
            reason = f", reused the answer of {story.reused_from}"
        yield Moment(story.completed_at, "outcome saved", f"{story.outcome}{reason}")
    if story.event_sent_at is not None:
        yield Moment(story.event_sent_at, "event sent", "confirmed by the broker")
    if story.settled_at is not None:
        yield Moment(story.settled_at, "message settled", "all that it caused is confirmed")
    if story.cleared_at is not None:
        yield Moment(story.cleared_at, "cleared", "masks, digest and context are gone")


def verdict(story: Story, delays: tuple[int, ...]) -> str:
    """Return where a request stands, in one line."""
    if story.state == "done":
        kind = "" if story.error_kind is None else f" ({story.error_kind})"
        return f"finished: {story.outcome}{kind}, {_charges(story)}; {_event(story)}"
    if story.state == "working":
        return _working(story)
    doubts = f"; {_charges(story)}" if story.in_doubt_calls else ""
    return f"waiting: {_return(story, delays)}{doubts}"


def _charges(story: Story) -> str:
    certain = sum(call.charged is Charged.YES for call in story.calls)
    perhaps = sum(call.charged is Charged.UNKNOWN for call in story.calls)
    if not certain and not perhaps:
        # An owner may have trimmed the table of calls: then the row's own word counts.
        words = {Charged.YES: "charged", Charged.NO: "not charged"}
        return words.get(story.charged, "perhaps charged")
    if not perhaps:
        return f"charged {_times(certain)}"
    if not certain:
        return f"perhaps charged {_times(perhaps)}"
    return f"charged {_times(certain)} and perhaps {_times(perhaps)} more"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _event(story: Story) -> str:
    if story.event_sent_at is not None:
        return "event sent"
    if story.completed_at is not None and story.read_at - story.completed_at < ON_ITS_WAY:
        return "event on its way"
    return "event not known to be sent: the workers' relay or `outbox flush` sends it"


def _working(story: Story) -> str:
    until = "?" if story.lease_until is None else iso(story.lease_until, "seconds")
    call = story.open_call
    if story.lease_until is not None and story.lease_until >= story.read_at:
        about = "" if call is None else f"; call {call.number} is under way"
        return f"working: held by worker {story.lease_owner} until {until} (lease){about}"
    if call is None:
        return (
            f"waiting: worker {story.lease_owner} stopped before a call (lease lapsed {until}); "
            "its message comes again"
        )
    return (
        f"in doubt: worker {story.lease_owner} stopped during call {call.number} (lease lapsed"
        f" {until}): it may have been charged, and is repeated at most MAX_IN_DOUBT_CALLS times"
        " when its message comes again"
    )


def _return(story: Story, delays: tuple[int, ...]) -> str:
    """Say when the message is due: as `decide` decided, where settings and outages let it know."""
    last = story.calls[-1] if story.calls else None
    delay = delays[0] if last is None else _delay(story, last, delays)
    since = story.requested_at if last is None else last.finished_at or last.started_at
    due = since + timedelta(seconds=delay)
    if story.read_at > due + OVERDUE:
        return (
            f"its message was due from {_queue(delay)} at {iso(due, 'seconds')}: it is queued"
            " behind others, or gone"
        )
    return (
        f"next attempt when the message returns from {_queue(delay)}, about {iso(due, 'seconds')}"
    )


def _delay(story: Story, last: CallRecord, delays: tuple[int, ...]) -> int:
    report = CallReport(last.call_class or CallClass.IN_DOUBT, last.charged)
    granted = Granted(
        story.request_id,
        grant=0,
        call_number=last.number,
        attempts=max(0, story.attempts - 1),
        calls=len(story.calls),
        in_doubt_calls=0,
        charged=Charged.NO,
        requested_at=story.requested_at,
    )
    decision = decide(report, granted, RetryPolicy(delays, max_in_doubt_calls=1))
    return decision.delay if isinstance(decision, RetryLater) else delays[0]


def _queue(delay: int) -> str:
    return RETRY_PREFIX + delay_name(delay)
