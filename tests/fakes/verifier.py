"""A provider that says what a test wrote down for it."""

from collections import deque
from threading import Event, Lock

from tests.fakes.broker import PATIENCE
from worker.core.outcome import AuthInfo, CallClass, CallReport, Charged, Outcome
from worker.core.request import VerificationRequest

MATCH = CallReport(
    CallClass.ANSWERED,
    Charged.YES,
    verdict=Outcome.MATCH,
    auth_info=AuthInfo(success=True, has_exception=False, code="ok", message="一致", detail="{}"),
    http_status=200,
    provider_request_id="provider-1",
    seconds=0.25,
)


def fault(call_class: CallClass, charged: Charged = Charged.NO) -> CallReport:
    return CallReport(call_class, charged)


class FakeVerifier:
    """The `Verifier` of the ports: the script's reports in turn, then `MATCH` for ever.

    An exception in the script is raised: a bug of the client that nobody expected. It says when a
    call has begun, and keeps it waiting while `answers` is clear.
    """

    def __init__(self, *script: CallReport | Exception) -> None:
        self._script = deque(script)
        self._lock = Lock()
        self.asked: list[VerificationRequest] = []
        self.begun, self.answers = Event(), Event()
        self.answers.set()

    def verify(self, request: VerificationRequest) -> CallReport:
        self.begun.set()
        assert self.answers.wait(PATIENCE)
        with self._lock:
            self.asked.append(request)
            said = self._script.popleft() if self._script else MATCH
        if isinstance(said, Exception):
            raise said
        return said
