"""What the worker would say of a message, without a broker and without a database."""

import secrets
from dataclasses import dataclass

import orjson
from pydantic import ValidationError

from worker.contract.encryption import MessageKeys
from worker.contract.request_model import BYTE_ORDER_MARK, problems_of
from worker.contract.request_v1 import Accepted, Refused, RequestReader
from worker.contract.result_v1 import ResultV1
from worker.core.delivery import Delivery
from worker.core.digests import Digest, Digests
from worker.core.outcome import FieldProblem
from worker.core.request import VerificationRequest
from worker.settings import CheckSettings, MessageEncryption, MessageSettings, load
from worker.telemetry.clock import today

_KNOWN_OTHERWISE = "an earlier message has it with other data: the worker answers conflict"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say of a message; a warning does not refuse it."""

    problem: FieldProblem
    refuses: bool = True


class MessageCheck:
    """Checks messages one after another, as one worker would meet them."""

    def __init__(self, message_id: str | None = None) -> None:
        settings, encryption = load(CheckSettings), load(MessageSettings)
        self._reader = RequestReader(
            settings.check_policy,
            settings.max_message_bytes,
            MessageKeys.of(encryption),
            required=encryption.message_encryption is MessageEncryption.REQUIRED,
        )
        self._message_id = message_id
        # Fingerprints are compared here and never leave: any key will do.
        self._digests = Digests(secrets.token_bytes(32))
        self._known: dict[str, Digest] = {}

    def findings(self, body: bytes) -> list[Finding]:
        """Return what is wrong with a request, or with a result event."""
        if _is_event(body):
            try:
                ResultV1.model_validate_json(body.removeprefix(BYTE_ORDER_MARK))
            except ValidationError as error:
                return [Finding(problem) for problem in problems_of(error)]
            return []
        reading = self._reader.read(Delivery(0, 0, body, message_id=self._message_id), today())
        match reading:
            case Accepted():
                warnings = [Finding(problem, refuses=False) for problem in reading.warnings]
                return [*self._conflicts(reading.request), *warnings]
            case Refused():
                return [Finding(problem) for problem in reading.problems]
            case _ if reading.problem.field == "requestId":
                return [Finding(reading.problem), *self._but_for_its_id(body)]
            case _:
                return [Finding(reading.problem)]

    def _but_for_its_id(self, body: bytes) -> list[Finding]:
        """Return what else is wrong with a request: without an id the worker looks no further."""
        try:
            request = {**orjson.loads(body), "requestId": "stand-in"}
        except orjson.JSONDecodeError:  # an encrypted one
            return []
        reading = self._reader.read(Delivery(0, 0, orjson.dumps(request)), today())
        return [Finding(each) for each in reading.problems] if isinstance(reading, Refused) else []

    def _conflicts(self, request: VerificationRequest) -> list[Finding]:
        (digest,) = self._digests.of_request(request)
        if self._known.setdefault(request.request_id, digest) == digest:
            return []
        return [Finding(FieldProblem("requestId", _KNOWN_OTHERWISE))]


def _is_event(body: bytes) -> bool:
    """Return whether this means to be a result event: no request has an `eventId`."""
    try:
        tree = orjson.loads(body.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError:
        return False
    return isinstance(tree, dict) and "eventId" in tree
