"""`verification-worker submit`: publish one request, or a file of them, and wait for results."""

import base64
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from worker.amqp.request_client import publish_request
from worker.cli.mistakes import UserMistake, broker_mistakes, complain, file_mistakes
from worker.cli.submit_file import submit_file
from worker.cli.tables import print_json
from worker.cli.usage import refuse_ignored
from worker.contract.jwk import KeyUnusable, MessageKey, read_public_key
from worker.contract.request_model import BYTE_ORDER_MARK
from worker.core.outcome import ANSWERS
from worker.settings import BrokerSettings, load

_OF_A_PERSON = ("check_type", "name", "id_card", "bankcard", "mobile", "image")
_OF_MANY = ("results", "encoding", "yes", "live")


def submit(
    context: typer.Context,
    file: Annotated[
        str | None,
        typer.Argument(
            help="JSON file with one request (- reads standard input), or a .csv or .jsonl of many."
        ),
    ] = None,
    *,
    check_type: Annotated[int | None, typer.Option(min=0, max=4, help="0 to 4.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the person.")] = None,
    id_card: Annotated[str | None, typer.Option(help="ID number.")] = None,
    bankcard: Annotated[str | None, typer.Option(help="Bank card number.")] = None,
    mobile: Annotated[str | None, typer.Option(help="Mobile number.")] = None,
    image: Annotated[Path | None, typer.Option(help="JPEG or PNG file.")] = None,
    request_id: Annotated[str | None, typer.Option(help="Default: a new one.")] = None,
    source: Annotated[str | None, typer.Option(help="Publishing system.")] = None,
    timeout: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds to wait, for a file of many from each result to the next; 0 does not "
            "wait.",
        ),
    ] = 60.0,
    results: Annotated[
        Path | None,
        typer.Option(help="Of many: .csv or .jsonl for the results; default: lines on output."),
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of a .csv, such as gb18030.")] = "utf-8-sig",
    yes: Annotated[
        bool, typer.Option("--yes", help="Of many: publish lines with a warning, too.")
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Of many: before the bulk lane, among those that a person waits for."
        ),
    ] = False,
    encrypt_to: Annotated[
        Path | None,
        typer.Option(help="The workers' public JWK, or a JWK Set: its first key encrypts."),
    ] = None,
) -> None:
    """Publish one request, or a file of many, and wait for the results.

    Other users of this machine can see a command's arguments: give real people's data in a file.

    One request: its result event is printed as JSON. Exit code 1: its outcome is not match,
    mismatch or no_record, or it did not come in time.

    Many: a .jsonl has one request a line, a .csv a heading with any of requestId, checkType,
    name, idCard, bankcard, mobile, source, expiresAt; an empty cell is a field that is not sent.
    Each line needs its requestId. They go to the bulk lane, which lets live requests pass; --live
    is among those. The whole file is looked through first: lines that fail the checks are named and
    not sent, and where a line has a warning (a card number that is odd, or cut short by a
    spreadsheet) nothing is published until a person or --yes says so. For each result --results
    gets a line of requestId, outcome, charged, error; the same command again goes on where it
    ended. Exit code 1: a line did not end in an answer.
    """
    is_many = file is not None and Path(file).suffix.lower() in (".csv", ".jsonl")
    _refuse_ignored(context, file, timeout, is_many=is_many)
    seal = _as_it_is if encrypt_to is None else _recipient(encrypt_to).seal
    if file is not None and is_many:
        answered = submit_file(
            Path(file),
            results,
            encoding=encoding,
            source=source,
            timeout=timeout,
            seal=seal,
            yes=yes,
            live=live,
        )
        sys.exit(0 if answered else 1)
    settings = load(BrokerSettings)
    user = {
        "name": name,
        "idCard": id_card,
        "bankcard": bankcard,
        "mobile": mobile,
        "imgBase64": _encoded(image),
    }
    request = _from_flags(check_type, user) if file is None else _from_file(file)
    if request_id is not None and request.get("requestId") is not None:
        raise UserMistake("--request-id: the file has a requestId")
    if request.get("requestId") is None:
        request["requestId"] = request_id or f"submit-{secrets.token_hex(8)}"
    if source is not None:
        request["source"] = source
    try:
        body = orjson.dumps(request)
    except orjson.JSONEncodeError:
        if file is not None:
            raise UserMistake(f"{file}: is nested too deeply") from None
        raise UserMistake("an option is not text in this terminal's encoding") from None
    with broker_mistakes():
        event = publish_request(
            settings.amqp_url.get_secret_value(),
            seal(body),
            timeout,
            message_id=str(request["requestId"]).encode()[:200].decode(errors="ignore"),
        )
    if timeout == 0:
        typer.echo(f"published {request['requestId']}")
        return
    if event is None:
        complain(
            f"no result came within {timeout:g} s; the request is queued, and its result will "
            "stand in verification_v1.results"
        )
        sys.exit(1)
    result = orjson.loads(event)
    print_json(result)
    sys.exit(0 if result["outcome"] in ANSWERS else 1)


def _refuse_ignored(
    context: typer.Context, file: str | None, timeout: float, *, is_many: bool
) -> None:
    """Refuse each option that would do nothing in this mode of three."""
    if file is not None:
        refuse_ignored(context, _OF_A_PERSON, "the file says it")
    if not is_many:
        refuse_ignored(context, _OF_MANY, "is for a .csv or .jsonl of many requests")
        return
    refuse_ignored(context, ["request_id"], "each line of the file has its own")
    if file is not None and not file.lower().endswith(".csv"):
        refuse_ignored(context, ["encoding"], "is for a .csv: JSON is UTF-8")
    if timeout == 0:
        refuse_ignored(context, ["results"], "no result is waited for with --timeout 0")


def _as_it_is(body: bytes) -> bytes:
    return body


def _recipient(file: Path) -> MessageKey:
    with file_mistakes(f"--encrypt-to: {file}"):
        content = file.read_bytes()
    try:
        return read_public_key(content)
    except KeyUnusable as unusable:
        raise UserMistake(f"--encrypt-to: {file}: {unusable}") from None


def _encoded(image: Path | None) -> str | None:
    if image is None:
        return None
    with file_mistakes(image):
        return base64.b64encode(image.read_bytes()).decode()


def _from_flags(check_type: int | None, user: dict[str, str | None]) -> dict[str, Any]:
    if check_type is None:
        raise UserMistake("give a JSON file, or --check-type and the person's fields")
    given = {field: value for field, value in user.items() if value is not None}
    return {"personalSpec": {"checkType": check_type, "personalUser": given}}


def _from_file(file: str) -> dict[str, Any]:
    try:
        with file_mistakes(file):
            text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        request = orjson.loads(text.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError:
        raise UserMistake(f"{file}: is not JSON") from None
    if not isinstance(request, dict):
        raise UserMistake(f"{file}: must hold one JSON object")
    return request
