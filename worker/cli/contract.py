"""`verification-worker contract`: the contract for who publishes requests, and a check of files."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.message_check import Finding, MessageCheck
from worker.cli.mistakes import UserMistake, file_mistakes
from worker.cli.tables import AsJson, note, print_json
from worker.contract import asyncapi as document
from worker.contract.schemas import schemas

contract = typer.Typer(
    help="Print the contract (alone: the JSON Schemas), or check messages by it."
)

# Whoever has more wrong lines has one mistake in all of them.
_SHOWN_MESSAGES = 50


@contract.callback(invoke_without_command=True)
def print_schemas(context: typer.Context) -> None:
    """Print the JSON Schemas of requests and result events."""
    if context.invoked_subcommand is None:
        print_json(schemas())


@contract.command()
def asyncapi() -> None:
    """Print the AsyncAPI 3 document of requests and result events."""
    print_json(document.asyncapi())


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
    found = [check.findings(body) for body in _bodies(file, lines=lines)]
    if as_json:
        print_json(
            [row for place, findings in enumerate(found, 1) for row in _rows(place, findings)]
        )
    else:
        for place, findings in [pair for pair in enumerate(found, 1) if pair[1]][:_SHOWN_MESSAGES]:
            for finding in findings:
                typer.echo(_shown(finding, place if len(found) > 1 else None))
    refused = sum(any(finding.refuses for finding in findings) for findings in found)
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


def _rows(place: int, findings: list[Finding]) -> list[dict[str, object]]:
    return [
        {
            "message": place,
            "field": finding.problem.field,
            "problem": finding.problem.problem,
            "refused": finding.refuses,
        }
        for finding in findings
    ]


def _shown(finding: Finding, place: int | None) -> str:
    where = "" if place is None else f"message {place}: "
    kind = "" if finding.refuses else "warning: "
    return f"{where}{kind}{finding.problem.field}: {finding.problem.problem}"
