"""The provider's client: one call, by its deadline, as a report. Any pool thread may call.

A fault of the provider or of the way there is a report; only a programming error is raised.
Repeats within a call are tenacity's, and only after faults that are provably free: nothing was
sent, a short throttle, or a nonce that met another one.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Self
from uuid import uuid4

from tenacity import RetryCallState, Retrying, sleep_using_event, wait_exponential_jitter

from worker.core.outcome import CallClass, CallReport, Charged
from worker.core.request import Person, VerificationRequest
from worker.core.retry import NO_REPORT
from worker.provider.bodies import decode, encode
from worker.provider.codes import (
    NONCE_CONFLICT,
    SANDBOX_SERVER,
    classify,
    from_sandbox,
    retry_after_seconds,
    without_answer,
)
from worker.provider.config import ProviderConfig
from worker.provider.deadline import ArmedCall, Reaper
from worker.provider.signing import JdCloudAuth, Scope
from worker.provider.transport import Transport, Unanswered
from worker.telemetry.causes import why_unconnected

# A lost connection is often back within a second: waits of 0.1–0.3 s and 0.2–0.4 s, no longer
# than a second if the tries are set higher. The retry queues take over after the budget.
_JITTER = wait_exponential_jitter(multiplier=0.1, max=1.0, jitter=0.2)


_now = partial(datetime.now, UTC)


def _nonce() -> str:
    return str(uuid4())


@dataclass(slots=True)
class _Call:
    """One call while it is made, on its own thread."""

    armed: ArmedCall
    body: bytes
    person: Person
    started: float
    sends: int = 0
    conflicts: int = 0
    report: CallReport = NO_REPORT
    repeating: bool = False


class PersonalAuthClient:
    """Calls `personalAuth`. It has a thread from its construction until `close`.

    `stopping` interrupts waits between tries; `clock` tells an aware UTC time and `nonce` a text
    that was never sent before.
    """

    def __init__(
        self,
        config: ProviderConfig,
        *,
        stopping: threading.Event | None = None,
        clock: Callable[[], datetime] = _now,
        nonce: Callable[[], str] = _nonce,
    ) -> None:
        self._config = config
        self._clock = clock
        self._stopping = stopping if stopping is not None else threading.Event()
        self._no_record = re.compile(config.no_record_pattern)
        self._nonce = nonce
        self._reaper = Reaper(min(config.call_deadline, config.read_timeout))
        self._transport = Transport(config, self._auth(config), self._reaper)
        # One object, called: the decorator would share its statistics between threads (#701).
        self._retrying = Retrying(
            retry=self._helps_to_repeat,
            wait=_wait,
            stop=self._gives_up,
            sleep=sleep_using_event(self._stopping),
            retry_error_callback=lambda state: _call_of(state).report,
        )

    def verify(self, request: VerificationRequest) -> CallReport:
        """Make one call, by its deadline, and report it: a fault is a report, not an error.

        `sends` counts the tries. Only the name's resolution is not bound by the deadline: the
        resolver cannot be interrupted and has limits of its own (5 s by default).
        """
        started = monotonic()
        armed = ArmedCall(started + self._config.call_deadline, self._config.read_timeout)
        call = _Call(armed, encode(request), request.person, started)
        self._reaper.arm(call.armed)
        try:
            self._try_once(call)
            # tenacity costs a fifth of a whole call, so it comes in only where it is needed.
            if self._is_free(call):
                self._retrying(self._repeat, call)
        finally:
            self._reaper.disarm()
        return replace(call.report, sends=call.sends, seconds=monotonic() - started)

    def renew(self, config: ProviderConfig) -> None:
        """Sign what is sent from now on with these credentials; nothing else of it counts."""
        self._transport.sign = self._auth(config)

    def _auth(self, config: ProviderConfig) -> JdCloudAuth:
        return JdCloudAuth(
            config.access_key,
            config.secret_key,
            Scope(config.algorithm, config.region),
            clock=self._clock,
            nonce=self._nonce,
            session_token=config.session_token,
        )

    def close(self) -> None:
        """Stop: no further call is made, and what is still under way is ended, in doubt."""
        self._stopping.set()
        self._reaper.stop()
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _try_once(self, call: _Call) -> None:
        call.sends += 1
        call.armed.sent = False
        try:
            received = self._transport.post(call.body)
        except Unanswered as fault:
            why = None if call.armed.sent else why_unconnected(fault)
            call.report = without_answer(fault.http_status, why)
            return
        if self._config.live and received.server == SANDBOX_SERVER:
            call.report = from_sandbox(received.status)
            return
        reply = None if received.body is None else decode(received.body, call.person)
        wait = received.retry_after
        seconds = None if wait is None else retry_after_seconds(wait, self._clock())
        call.report = classify(received.status, reply, seconds, self._no_record)
        if call.report.status == NONCE_CONFLICT:
            call.conflicts += 1

    def _repeat(self, call: _Call) -> None:
        """Make the next try; the first of tenacity's tries is the one that was made already."""
        if not call.repeating:
            call.repeating = True
        # The event only cuts the wait short, and tenacity tries again: not when we are stopping.
        elif not self._stopping.is_set():
            self._try_once(call)

    def _is_free(self, call: _Call) -> bool:
        """Return whether the last try was provably free and another one may help soon."""
        report = call.report
        if report.charged is not Charged.NO:  # whatever its status, its body says so
            return False
        match report.call_class:
            case CallClass.NOT_SENT:
                return True
            case CallClass.THROTTLED:
                return (
                    report.retry_after is not None and report.retry_after <= self._config.short_wait
                )
            case CallClass.CREDENTIALS:
                return report.status == NONCE_CONFLICT and call.conflicts == 1
            case _:
                return False

    def _helps_to_repeat(self, state: RetryCallState) -> bool:
        failed = state.outcome is None or state.outcome.failed  # a programming error: let it out
        return not failed and self._is_free(_call_of(state))

    def _gives_up(self, state: RetryCallState) -> bool:
        call = _call_of(state)
        next_try = monotonic() + state.upcoming_sleep
        last_start = min(call.started + self._config.free_budget, call.armed.deadline)
        return (
            next_try > last_start
            or call.sends >= self._config.free_tries
            or self._stopping.is_set()
        )


def _call_of(state: RetryCallState) -> _Call:
    call: _Call = state.args[0]
    return call


def _wait(state: RetryCallState) -> float:
    report = _call_of(state).report
    if report.status == NONCE_CONFLICT:
        return 0.0
    return max(_JITTER(state), report.retry_after or 0.0)
