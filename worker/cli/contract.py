"""`verification-worker contract`: the contract for who publishes requests, and a check of files."""

import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import orjson
import typer
from pydantic import ValidationError

from worker.cli.mistakes import UserMistake, file_mistakes
from worker.cli.tables import AsJson, note, print_json
from worker.contract import schemas
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

contract = typer.Typer(
    help="Print the contract (alone: the JSON Schemas), or check messages by it."
)

# Whoever has more wrong lines has one mistake in all of them.
_SHOWN_MESSAGES = 50
_KNOWN_OTHERWISE = "an earlier message has it with other data: the worker answers conflict"


@dataclass(frozen=True, slots=True)
class Remark:
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

    def remarks(self, body: bytes) -> list[Remark]:
        """Return what is wrong with a request, or with a result event."""
        if _is_event(body):
            try:
                ResultV1.model_validate_json(body.removeprefix(BYTE_ORDER_MARK))
            except ValidationError as error:
                return [Remark(problem) for problem in problems_of(error)]
            return []
        reading = self._reader.read(Delivery(0, 0, body, message_id=self._message_id), today())
        match reading:
            case Accepted():
                warnings = [Remark(problem, refuses=False) for problem in reading.warnings]
                return [*self._conflicts(reading.request), *warnings]
            case Refused():
                return [Remark(problem) for problem in reading.problems]
            case _ if reading.problem.field == "requestId":
                return [Remark(reading.problem), *self._but_for_its_id(body)]
            case _:
                return [Remark(reading.problem)]

    def _but_for_its_id(self, body: bytes) -> list[Remark]:
        """Return what else is wrong with a request: without an id the worker looks no further."""
        try:
            named = orjson.dumps({**orjson.loads(body), "requestId": "stand-in"})
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # encrypted, or nested too deeply
            return []
        reading = self._reader.read(Delivery(0, 0, named), today())
        return [Remark(each) for each in reading.problems] if isinstance(reading, Refused) else []

    def _conflicts(self, request: VerificationRequest) -> list[Remark]:
        (digest,) = self._digests.of_request(request)
        if self._known.setdefault(request.request_id, digest) == digest:
            return []
        return [Remark(FieldProblem("requestId", _KNOWN_OTHERWISE))]


def _is_event(body: bytes) -> bool:
    """Return whether this means to be a result event: no request has an `eventId`."""
    try:
        tree = orjson.loads(body.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError:
        return False
    return isinstance(tree, dict) and "eventId" in tree


@contract.callback(invoke_without_command=True)
def print_schemas(context: typer.Context) -> None:
    """Print the JSON Schemas of requests and result events."""
    if context.invoked_subcommand is None:
        print_json(schemas.schemas())


@contract.command()
def asyncapi() -> None:
    """Print the AsyncAPI 3 document of requests and result events."""
    print_json(schemas.asyncapi())


@contract.command()
def validate(
    file: Annotated[
        str, typer.Argument(help="One request or result event, or a .jsonl of many; - is input.")
    ],
    *,
    lines: Annotated[
        bool, typer.Option("--lines", help="One message a line, as in a .jsonl.")
    ] = False,
    message_id: Annotated[
        str | None, typer.Option(help="The AMQP message_id: counts where requestId is missing.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check messages as the worker would and print each problem by its field, never a value.

    Nothing is published and no server is asked; the checks' settings (NAME_CHECK, ID_CARD_CHECK,
    LUHN_CHECK, PORTRAIT_FIELDS, MAX_MESSAGE_BYTES, MESSAGE_KEYS, MESSAGE_ENCRYPTION) are read from
    the environment. In a .jsonl a requestId that an earlier line has with another person is a
    problem, too. Exit code 1: something is refused.
    """
    check = MessageCheck(message_id)
    found = [check.remarks(body) for body in _bodies(file, lines=lines)]
    if as_json:
        print_json([row for place, remarks in enumerate(found, 1) for row in _rows(place, remarks)])
    else:
        for place, remarks in [pair for pair in enumerate(found, 1) if pair[1]][:_SHOWN_MESSAGES]:
            for remark in remarks:
                typer.echo(_shown(remark, place if len(found) > 1 else None))
    refused = sum(any(remark.refuses for remark in remarks) for remarks in found)
    note(f"{len(found)} checked, {refused} refused")
    if refused:
        sys.exit(1)


def _bodies(file: str, *, lines: bool) -> list[bytes]:
    with file_mistakes(file):
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    if not (lines or file.lower().endswith((".jsonl", ".ndjson"))):
        return [content]
    bodies = [line for line in content.splitlines() if line.strip()]
    if not bodies:
        raise UserMistake(f"{file}: has no line")
    return bodies


def _rows(place: int, remarks: list[Remark]) -> list[dict[str, object]]:
    return [
        {
            "message": place,
            "field": remark.problem.field,
            "problem": remark.problem.problem,
            "refused": remark.refuses,
        }
        for remark in remarks
    ]


def _shown(remark: Remark, place: int | None) -> str:
    where = "" if place is None else f"message {place}: "
    kind = "" if remark.refuses else "warning: "
    return f"{where}{kind}{remark.problem.field}: {remark.problem.problem}"
