"""How a delivery leaves: every way out is a settlement, made here. No input or output.

What is recorded first (`of_record`) and what needs no record: a message that cannot be read, a
known outcome, a request that somebody else has, an id with other data, a hand-back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from worker.contract import internal
from worker.contract.request_model import DEFAULT_SOURCE
from worker.contract.request_v1 import Unreadable
from worker.contract.result_v1 import answer_event, result_event
from worker.core.claims import (
    AlreadyDone,
    ClaimRequest,
    Conflicting,
    Entry,
    FencedOut,
    HeldElsewhere,
    Recorded,
    Unstorable,
)
from worker.core.delivery import MOST_RETURNS, Delivery, EventFormat, Publication, Settlement
from worker.core.digests import Digests
from worker.core.outcome import (
    Complete,
    ErrorKind,
    Failure,
    FieldProblem,
    Outcome,
    RetryLater,
    StoredResult,
)
from worker.core.request import Mode
from worker.core.retry import GIVEN_UP, RetryPolicy
from worker.pipeline.work import Asked

_CONFLICTS = {
    ErrorKind.CONFLICT: "this requestId is known with other data",
    ErrorKind.MODE_MISMATCH: "this requestId belongs to another mode (live or sandbox)",
}


@dataclass(frozen=True, slots=True)
class Settling:
    """Makes the settlements of one worker.

    `keep` makes of a delivery what may stand among the dead letters.
    """

    digests: Digests
    mode: Mode
    retries: RetryPolicy
    event_format: EventFormat
    keep: Callable[[Delivery], Delivery]

    def of_record(
        self, delivery: Delivery, entry: Entry, recorded: Recorded | FencedOut | Unstorable
    ) -> Settlement:
        """Settle what is saved; what could not be saved in any form comes again much later."""
        claim, decision, facts = entry.asked, entry.decision, _call_facts(entry)
        if isinstance(recorded, Unstorable):
            return self._again(delivery, claim, "unrecordable", self.retries.delays[-1], facts)
        if isinstance(recorded, FencedOut):
            # The lease had lapsed: what the row says now counts, not what we found.
            if isinstance(recorded.now, HeldElsewhere):
                return self.held(delivery, claim, recorded.now.wait)
            return self._replay(delivery, claim, recorded.now.stored, "fenced_out")
        if isinstance(decision, RetryLater):
            facts["reason"] = decision.reason
            return self._again(delivery, claim, "retrying", decision.delay, facts)
        if recorded.stored is None:
            raise ValueError("a recorded outcome has a row")
        event = self._event(recorded.stored, claim)
        if decision.result.reused_from is not None:
            facts["reused_from"] = decision.result.reused_from
        line = _line(claim, "completed", outcome=decision.result.outcome, **facts)
        if isinstance(decision, Complete):
            return Settlement(delivery, (event,), line)
        dead = internal.dead_letter(
            self.keep(delivery),
            decision.reason,
            attempts=entry.granted.attempts + 1,
            last_error=entry.report.call_class if entry.report else decision.reason,
            first_seen=entry.granted.requested_at,
        )
        return Settlement(delivery, (event, dead), {**line, "reason": decision.reason})

    def answer(
        self,
        asked: Asked,
        claim: AlreadyDone | HeldElsewhere | Conflicting | Unstorable,
        now: datetime,
    ) -> Settlement:
        """Settle what is not granted: nothing is recorded of it."""
        delivery, of = asked.delivery, asked.claim
        match claim:
            case AlreadyDone(stored):
                return self._replay(delivery, of, stored, "replayed")
            case HeldElsewhere(wait=wait):
                return self.held(delivery, of, wait)
            case Conflicting(kind):
                return self._contradict(delivery, of, kind, now)
            case Unstorable():
                problem, envelope = FieldProblem("body", "cannot be stored"), of.envelope
                if envelope.correlation_id is None:
                    envelope = replace(envelope, correlation_id=of.request_id)
                reason = ErrorKind.UNSTORABLE
                unreadable = Unreadable(reason, problem, envelope, delivery.body, of.source)
                return self.turn_away(delivery, unreadable, now)
            case _ as never:
                assert_never(never)

    def _replay(
        self, delivery: Delivery, claim: ClaimRequest, stored: StoredResult, action: str
    ) -> Settlement:
        """Announce a known outcome again; its dead letter too where a crash may have lost it."""
        event = self._event(stored, claim)
        line = _line(claim, action, outcome=stored.result.outcome)
        failure = stored.result.failure
        if stored.announced or failure is None or not _is_kept(delivery, failure):
            return Settlement(delivery, (event,), line)
        dead = internal.dead_letter(
            self.keep(delivery),
            failure.kind,
            attempts=stored.calls,
            last_error=failure.kind,
            first_seen=stored.requested_at,
        )
        return Settlement(delivery, (event, dead), line)

    def _event(self, stored: StoredResult, claim: ClaimRequest) -> Publication:
        """Return the stored result, addressed to who asks now: perhaps not the first who did."""
        return result_event(stored, claim.envelope, self.event_format, asked_by=claim.source)

    def held(self, delivery: Delivery, claim: ClaimRequest, wait: float = 0.0) -> Settlement:
        """Let a request come again that somebody works on now, or that is due in `wait` seconds."""
        return self._again(delivery, claim, "held_elsewhere", self.retries.at_least(wait), {})

    def _again(
        self,
        delivery: Delivery,
        claim: ClaimRequest,
        action: str,
        delay: int,
        facts: dict[str, object],
    ) -> Settlement:
        line = _line(claim, action, delay=delay, **facts)
        return Settlement(delivery, (internal.retry(delivery, delay),), line)

    def hand_back(self, deliveries: Sequence[Delivery], seconds: float) -> list[Settlement]:
        """Settle deliveries that were not even read: they come again after about `seconds`.

        Not by a return to the queue: brokers count returns and dead-letter after some.
        """
        delay = self.retries.at_least(seconds)
        return [Settlement(each, (internal.retry(each, delay),)) for each in deliveries]

    def _contradict(
        self, delivery: Delivery, claim: ClaimRequest, kind: ErrorKind, now: datetime
    ) -> Settlement:
        """Answer a known id with other data: to its sender alone, no row changes."""
        event = answer_event(
            Outcome.CONFLICT,
            Failure(kind, _CONFLICTS[kind]),
            claim.envelope,
            request_id=claim.request_id,
            source=claim.source,
            fingerprint=claim.request_id.encode() + claim.digest.fingerprint,
            mode=self.mode,
            now=now,
            event_format=self.event_format,
        )
        line = _line(claim, "conflict", outcome=Outcome.CONFLICT, reason=kind)
        return Settlement(delivery, (event,), line)

    def turn_away(self, delivery: Delivery, reading: Unreadable, now: datetime) -> Settlement:
        """Keep an unreadable message for a person, and answer with what can be told of it."""
        dead = internal.dead_letter(
            self.keep(delivery),
            reading.reason,
            attempts=0,
            last_error=reading.reason,
            first_seen=now,
        )
        event = answer_event(
            Outcome.REJECTED,
            Failure(ErrorKind.UNREADABLE, "the message cannot be read", (reading.problem,)),
            reading.envelope,
            request_id=None,
            source=reading.source or DEFAULT_SOURCE,
            fingerprint=self.digests.of_body(reading.body)[0].fingerprint,
            mode=self.mode,
            now=now,
            event_format=self.event_format,
        )
        line = {"action": "dead_lettered", "reason": reading.reason, "source": reading.source}
        return Settlement(delivery, (dead, event), line)


def _is_kept(delivery: Delivery, failure: Failure) -> bool:
    """Return whether the message of this failure becomes a dead letter.

    One that counts as lost for its age has none, and needs none when it comes after all.
    """
    is_lost = failure.kind is ErrorKind.MESSAGE_LOST
    return failure.kind in GIVEN_UP or (is_lost and delivery.returned > MOST_RETURNS)


def _line(claim: ClaimRequest, action: str, **facts: object) -> Mapping[str, object]:
    if claim.warnings:
        facts["warnings"] = claim.warnings
    return {
        "action": action,
        "request_id": claim.request_id,
        "source": claim.source,
        "check_type": claim.check_type,
        **facts,
    }


def _call_facts(entry: Entry) -> dict[str, object]:
    facts: dict[str, object] = {"calls": entry.granted.calls}
    if entry.report is not None:
        facts["call_class"] = entry.report.call_class
        facts["call_seconds"] = round(entry.report.seconds, 3)
        facts["charged"] = entry.report.charged
        if entry.report.not_sent_because is not None:
            facts["not_sent_because"] = entry.report.not_sent_because
    return facts
