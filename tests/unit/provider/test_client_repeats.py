"""Repeats within one call: only what is provably free, not for long, and never when stopping."""

import socket
import threading

import orjson
import pytest

from tests.unit.provider.scripted import ASKED, Act, Exchange, answer, connect, raw, reset, serve
from worker.core.outcome import CallClass, Charged, Outcome


def refusal(status: int, word: str, **headers: str) -> Act:
    return answer(orjson.dumps({"error": {"status": word}}), status, False, **headers)


class NoWaiting(threading.Event):
    """The event that cuts waits short, of a client that must not wait."""

    def wait(self, timeout: float | None = None) -> bool:
        """Fail the test."""
        raise AssertionError(f"waited for {timeout} s")


CONFLICT = refusal(403, "APIGW_NONCE_CONFLICT")
THROTTLED = refusal(429, "RATE_LIMIT", Retry_After="0")


def test_a_nonce_that_met_another_is_replaced_once() -> None:
    server = serve(CONFLICT, answer())
    report = connect(server.url, free_tries=3).verify(ASKED)
    assert (report.verdict, report.sends) == (Outcome.MATCH, 2)
    nonces = [exchange.headers["x-jdcloud-nonce"] for exchange in server.exchanges]
    assert len(set(nonces)) == 2


def test_a_second_conflict_is_left_to_people() -> None:
    report = connect(serve(CONFLICT).url, free_tries=5).verify(ASKED)
    assert (report.call_class, report.sends) == (CallClass.CREDENTIALS, 2)
    assert (report.status, report.charged) == ("APIGW_NONCE_CONFLICT", Charged.NO)


def test_a_short_throttle_is_waited_for() -> None:
    report = connect(serve(THROTTLED, answer()).url, free_tries=3).verify(ASKED)
    assert (report.verdict, report.sends) == (Outcome.MATCH, 2)


@pytest.mark.parametrize("headers", [{}, {"Retry_After": "3"}], ids=["unsaid", "long"])
def test_a_longer_throttle_is_reported_at_once(headers: dict[str, str]) -> None:
    act = refusal(429, "RATE_LIMIT", **headers)
    report = connect(serve(act).url, free_tries=3).verify(ASKED)
    assert (report.call_class, report.sends) == (CallClass.THROTTLED, 1)
    assert report.retry_after == (float(headers["Retry_After"]) if headers else None)


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


def test_the_tries_are_counted_and_end() -> None:
    server = serve(THROTTLED)
    report = connect(server.url, free_tries=2).verify(ASKED)
    assert (report.call_class, report.sends) == (CallClass.THROTTLED, 2)
    assert len(server.exchanges) == 2


@pytest.mark.parametrize("limit", ["free_budget", "call_deadline"])
def test_no_try_begins_after_the_budget_or_the_deadline(limit: str) -> None:
    act = refusal(429, "RATE_LIMIT", Retry_After="2")
    client = connect(serve(act).url, free_tries=9, stopping=NoWaiting(), **{limit: 1.0})
    report = client.verify(ASKED)
    assert (report.call_class, report.sends) == (CallClass.THROTTLED, 1)


@pytest.mark.parametrize(
    "act",
    [reset, raw(b""), answer(b"", status=500), answer(b"{}"), refusal(401, "ACCESS_ERROR"),
     refusal(400, "INVALID_ARGUMENT"), refusal(429, "QUOTA_EXCEEDED", Retry_After="0")],
)  # fmt: skip
def test_what_is_not_provably_free_and_passing_is_never_repeated(act: Act) -> None:
    server = serve(act)
    assert connect(server.url, free_tries=9).verify(ASKED).sends == 1
    assert len(server.exchanges) == 1


def test_doubt_after_a_free_try_ends_the_call() -> None:
    report = connect(serve(CONFLICT, reset).url, free_tries=9).verify(ASKED)
    assert (report.call_class, report.sends) == (CallClass.IN_DOUBT, 2)


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
        both.wait(5)
        return CONFLICT(exchange)

    client = connect(serve(conflict_first, conflict_first, answer()).url, free_tries=3)
    reports = []
    threads = [
        threading.Thread(target=lambda: reports.append(client.verify(ASKED))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(report.verdict, report.sends) for report in reports] == [(Outcome.MATCH, 2)] * 2
