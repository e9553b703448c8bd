"""What tests of attacks share: two answers that differ, and who must get the second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.provider.scripted import MATCH
from worker.core.outcome import Outcome

if TYPE_CHECKING:
    from worker.core.outcome import CallReport
    from worker.core.request import VerificationRequest
    from worker.provider.client import PersonalAuthClient

MISMATCH = b'{"requestId":"rq-2","result":{"success":false}}'
OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: %d\r\n\r\n%b" % (len(MATCH), MATCH)


def ask_two(client: PersonalAuthClient, asked: VerificationRequest) -> CallReport:
    """Return the report of the attacked call; the next call must get its own answer."""
    first = client.verify(asked)
    second = client.verify(asked)
    assert (second.verdict, second.provider_request_id) == (Outcome.MISMATCH, "rq-2")
    return first
