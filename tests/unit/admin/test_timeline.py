"""A request's history in words: one row per place where it can stand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from worker.admin.timeline import timeline, verdict
from worker.core.operations import CallRecord, History
from worker.core.outcome import CallClass, Charged, ErrorKind, FieldProblem, Outcome
from worker.core.request import Mode

DELAYS = (5, 30, 120)
T0 = datetime(2026, 11, 27, 8, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def call(
    number: int,
    start: float,
    end: float | None,
    call_class: CallClass | None,
    charged: Charged = Charged.NO,
) -> CallRecord:
    finished = None if end is None else at(end)
    answered = call_class is CallClass.ANSWERED
    return CallRecord(
        number, "w/1", at(start), finished, call_class, charged, 200 if answered else None,
        None, "jd-7" if answered else None, 1, None if end is None else round((end - start) * 1000),
    )  # fmt: skip


WAITING = History(
    "onb-1", "web", 2, Mode.SANDBOX, "waiting", None, None, 0, 0, Charged.NO, None, None, None,
    (), None, T0, None, None, None, None, None, at(10), (),
)  # fmt: skip
WORKING = replace(WAITING, state="working", lease_owner="w/1", lease_until=at(60))
DONE = replace(
    WAITING,
    state="done",
    outcome=Outcome.MATCH,
    charged=Charged.YES,
    completed_at=at(1),
    event_sent_at=at(2),
    calls=(call(1, 0, 1, CallClass.ANSWERED, Charged.YES),),
)
FAILED = replace(DONE, outcome=Outcome.FAILED, error_kind=ErrorKind.IN_DOUBT)
RETURNS = "waiting: next attempt when the message returns from verification.retry"
LAPSED = "(lease lapsed 2026-11-27T08:01:00Z)"
DOUBT = call(1, 0, 3, CallClass.IN_DOUBT, Charged.UNKNOWN)


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (DONE, "finished: match, charged once; event sent"),
        (replace(DONE, event_sent_at=None), "finished: match, charged once; event on its way"),
        (
            replace(DONE, event_sent_at=None, read_at=at(100)),
            (
                "finished: match, charged once; event not known to be sent: the workers' relay or"
                " `outbox flush` sends it"
            ),
        ),
        # an owner may have trimmed the table of calls: then the row's own word counts
        (replace(DONE, calls=()), "finished: match, charged; event sent"),
        (
            replace(DONE, calls=(DOUBT, call(2, 8, 9, CallClass.ANSWERED, Charged.YES))),
            "finished: match, charged once, charge unknown once; event sent",
        ),
        (
            replace(FAILED, calls=(DOUBT, replace(DOUBT, number=2))),
            "finished: failed (in_doubt), charge unknown twice; event sent",
        ),
        (
            replace(DONE, outcome=Outcome.REJECTED, charged=Charged.NO, calls=()),
            "finished: rejected, not charged; event sent",
        ),
        (
            replace(WORKING, calls=(call(1, 0, None, None, Charged.UNKNOWN),)),
            "working: held by worker w/1 until 2026-11-27T08:01:00Z (lease); call 1 is under way",
        ),
        (
            replace(WORKING, read_at=at(61), calls=(call(1, 0, None, None, Charged.UNKNOWN),)),
            (
                f"in doubt: worker w/1 stopped during call 1 {LAPSED}: its charge is unknown,"
                " and it is repeated at most MAX_IN_DOUBT_CALLS times when its message comes again"
            ),
        ),
        (
            replace(WORKING, read_at=at(61)),
            f"waiting: worker w/1 stopped before a call {LAPSED}; its message comes again",
        ),
        (
            # the second counted attempt failed: 30 s
            replace(WAITING, attempts=2, calls=(call(2, 5, 6, CallClass.UNAVAILABLE),)),
            f"{RETURNS}.30s, about 2026-11-27T08:00:36Z",
        ),
        (
            replace(WAITING, calls=(call(1, 0, 1, CallClass.THROTTLED),)),
            f"{RETURNS}.30s, about 2026-11-27T08:00:31Z",
        ),
        (
            replace(WAITING, in_doubt_calls=1, charged=Charged.UNKNOWN, calls=(DOUBT,)),
            f"{RETURNS}.5s, about 2026-11-27T08:00:08Z; charge unknown once",
        ),
        (
            replace(WAITING, read_at=at(306), calls=()),
            (
                "waiting: its message was due from verification.retry.5s at 2026-11-27T08:00:05Z:"
                " it is queued behind others, or gone"
            ),
        ),
    ],
)
def test_the_verdict_says_in_one_line_where_a_request_stands(history: History, words: str) -> None:
    assert verdict(history, DELAYS) == words


def test_the_timeline_tells_calls_waits_and_doubts_in_their_order() -> None:
    history = replace(
        DONE,
        calls=(DOUBT, call(2, 8.2, 9, CallClass.ANSWERED, Charged.YES)),
        completed_at=at(9),
        event_sent_at=at(9.1),
        settled_at=at(9.2),
        expires_at=at(100),
        cleared_at=at(200),
    )
    assert [(each.at, each.event, each.details) for each in timeline(history, DELAYS)] == [
        (T0, "first claimed", "source web, check type 2, sandbox"),
        (T0, "call 1 started", "worker w/1"),
        (at(3), "call 1 in doubt", "in_doubt, charged unknown, 3000 ms"),
        (at(3), "waited", "5.2s for call 2 by verification.retry.5s"),
        (at(8.2), "call 2 started", "worker w/1"),
        (
            at(9),
            "call 2 finished",
            "answered, HTTP 200, charged yes, 800 ms, provider's id jd-7",
        ),
        (at(9), "outcome saved", "match"),
        (at(9.1), "event sent", "the broker has it for whoever is bound"),
        (at(9.2), "message settled", "all that it caused is confirmed"),
        (at(100), "deadline", "after this no call is made"),
        (at(200), "cleared", "masks, digest and context are gone"),
    ]


def test_a_lapsed_lease_is_part_of_the_timeline() -> None:
    history = replace(WORKING, read_at=at(61), check_type=None)
    assert [(each.event, each.details) for each in timeline(history, DELAYS)] == [
        ("first claimed", "source web, no check type, sandbox"),
        ("lease lapsed", "worker w/1"),
    ]


def test_a_reused_answer_names_the_request_that_paid_it() -> None:
    history = replace(DONE, reused_from="onb-0", charged=Charged.NO, calls=())
    saved = next(each for each in timeline(history, DELAYS) if each.event == "outcome saved")
    assert saved.details == "match, reused the answer of onb-0"
    assert verdict(history, DELAYS) == "finished: match, not charged; event sent"


def test_a_rejected_request_names_its_fields() -> None:
    problems = (FieldProblem("idCard", "is too short"), FieldProblem("name", "is required"))
    rejected = replace(
        DONE,
        outcome=Outcome.REJECTED,
        error_kind=ErrorKind.INVALID_REQUEST,
        error_message="the request fails the checks",
        error_fields=problems,
    )
    (saved,) = [each for each in timeline(rejected, (5,)) if each.event == "outcome saved"]
    assert saved.details.endswith("the checks: idCard is too short; name is required")
