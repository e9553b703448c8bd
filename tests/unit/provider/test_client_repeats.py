"""Repeats within one call: only what is provably free, not for long, and never when stopping."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest

from tests.unit.provider.scripted import (
    ASKED,
    MATCH,
    Act,
    Exchange,
    answer,
    connect,
    raw,
    reset,
    serve,
)
from worker.core.outcome import CallClass, Outcome


def refusal(status: int, word: str, **headers: str) -> Act:
    return answer(orjson.dumps({"error": {"status": word}}), status, False, **headers)


class NoWaiting(threading.Event):
    """The event that cuts waits short, of a client that must not wait."""

    def wait(self, timeout: float | None = None) -> bool:
        """Fail the test."""
        raise AssertionError(f"waited for {timeout} s")


CONFLICT = refusal(403, "APIGW_NONCE_CONFLICT")
THROTTLED = refusal(429, "RATE_LIMIT", Retry_After="0")


@pytest.mark.parametrize(
    ("acts", "tries", "sends", "call_class"),
    [
        ((CONFLICT, answer()), 3, 2, "answered"),
        ((CONFLICT,), 5, 2, "credentials"),  # a second conflict is left to people
        ((THROTTLED, answer()), 3, 2, "answered"),  # a short throttle is waited for
        ((THROTTLED,), 2, 2, "throttled"),
        ((CONFLICT, reset), 9, 2, "in_doubt"),  # doubt ends the call
        # What is not provably free and passing is never repeated.
        ((reset,), 9, 1, "in_doubt"),
        ((raw(b""),), 9, 1, "in_doubt"),
        ((answer(b"", status=500),), 9, 1, "foreign"),
        ((answer(b"{}"),), 9, 1, "in_doubt"),
        ((refusal(401, "ACCESS_ERROR"),), 9, 1, "credentials"),
        ((refusal(400, "INVALID_ARGUMENT"),), 9, 1, "refused"),
        ((refusal(429, "QUOTA_EXCEEDED", Retry_After="0"),), 9, 1, "quota"),
        ((answer(MATCH, 429, False, Retry_After="0"),), 9, 1, "throttled"),  # it says "charged"
    ],
)
def test_a_call_is_sent_again_while_that_is_free_and_has_a_new_nonce_each_time(
    acts: tuple[Act, ...], tries: int, sends: int, call_class: str
) -> None:
    server = serve(*acts)
    report = connect(server.url, free_tries=tries).verify(ASKED)
    assert (report.call_class, report.sends) == (call_class, sends)
    nonces = {exchange.headers["x-jdcloud-nonce"] for exchange in server.exchanges}
    assert len(nonces) == len(server.exchanges) == sends


@pytest.mark.parametrize(("headers", "wait"), [({}, None), ({"Retry_After": "3"}, 3.0)])
def test_a_longer_throttle_is_reported_at_once(headers: dict[str, str], wait: float | None) -> None:
    act = refusal(429, "RATE_LIMIT", **headers)
    report = connect(serve(act).url, free_tries=3).verify(ASKED)
    assert (report.call_class, report.sends) == (CallClass.THROTTLED, 1)
    assert report.retry_after == wait


def test_a_connection_that_could_not_be_made_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, failures = socket.getaddrinfo, iter([socket.gaierror(socket.EAI_AGAIN, "again")])

    def flaky(*args: object) -> object:
        for failure in failures:
            raise failure
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", flaky)
    report = connect(serve().url, free_tries=3).verify(ASKED)
    assert (report.verdict, report.sends) == (Outcome.MATCH, 2)


@pytest.mark.parametrize("limit", ["free_budget", "call_deadline"])
def test_no_try_begins_after_the_budget_or_the_deadline(limit: str) -> None:
    act = refusal(429, "RATE_LIMIT", Retry_After="600")
    limits = {limit: 60.0, "short_wait": 3_600.0}
    client = connect(serve(act).url, free_tries=9, stopping=NoWaiting(), **limits)
    report = client.verify(ASKED)
    assert (report.call_class, report.sends) == (CallClass.THROTTLED, 1)


def test_stopping_cuts_the_wait_short_and_makes_no_further_try() -> None:
    class StopsWhileWaitedFor(threading.Event):
        """The order to stop comes while the client waits."""

        def wait(self, timeout: float | None = None) -> bool:
            self.set()
            return super().wait(timeout)

    server = serve(refusal(429, "RATE_LIMIT", Retry_After="2"))
    client = connect(server.url, free_tries=9, stopping=StopsWhileWaitedFor())
    report = client.verify(ASKED)
    assert (report.call_class, report.sends) == (CallClass.THROTTLED, 1)


def test_a_programming_error_in_a_repeat_is_not_repeated() -> None:
    nonces = iter(["only one"])
    client = connect(serve(CONFLICT).url, free_tries=3, nonce=lambda: next(nonces))
    with pytest.raises(StopIteration):
        client.verify(ASKED)


def test_an_exchange_of_another_thread_does_not_count() -> None:
    both = threading.Barrier(2)

    def conflict_first(exchange: Exchange) -> bool:
        both.wait(60)
        return CONFLICT(exchange)

    client = connect(serve(conflict_first, conflict_first, answer()).url, free_tries=3)
    with ThreadPoolExecutor(2) as threads:
        reports = threads.map(client.verify, [ASKED, ASKED])
    assert [(report.verdict, report.sends) for report in reports] == [(Outcome.MATCH, 2)] * 2
