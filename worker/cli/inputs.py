"""What people give to a command: their word, ID numbers on standard input, times."""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import typer

from worker.admin.cells import read_moment
from worker.cli.mistakes import UserMistake
from worker.core.checks import FieldRefused, IdCardCheck, check_id_card
from worker.telemetry.clock import today

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def moment(option: str, text: str | None, now: datetime) -> datetime | None:
    """Return the time that an option says, UTC where it names no zone; `2h` is two hours ago.

    Raises `UserMistake` where it is none.
    """
    if text is None:
        return None
    try:
        return read_moment(text, now)
    except ValueError as error:
        raise UserMistake(f"{option}: {error}") from None


def agreed(
    verb: str, what: str, show: Callable[[], None], *, dry_run: bool, yes: bool, as_json: bool
) -> bool:
    """Show what is meant and ask, unless that was answered on the command line."""
    asking = not yes and sys.stdin.isatty()
    if dry_run or (asking and not as_json):
        show()
    if dry_run or yes:
        return not dry_run
    if not asking:
        raise UserMistake(f"nobody is there to ask: give --yes to {verb}, or --dry-run to look")
    return typer.confirm(f"{verb} {what}?", err=True)


def id_card_lines() -> list[str]:
    """Return the lines of standard input that are not blank; of a person who sits there, one.

    It is typed unseen, and an ID number is never an argument: others can see those.
    """
    if sys.stdin.isatty():
        return [typer.prompt("ID number", hide_input=True, err=True)]
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")  # whatever the terminal's encoding is
    except UnicodeDecodeError:
        raise UserMistake("standard input is not UTF-8") from None
    return [line for line in text.splitlines() if line.strip()]


def id_card(line: str, *, unchecked: bool, where: str = "") -> str:
    """Return a normalised ID number; what is none is a mistake that says where it stands."""
    try:
        return check_id_card(line, IdCardCheck.OFF if unchecked else IdCardCheck.STRICT, today())
    except FieldRefused as refusal:
        raise UserMistake(f"{where}the ID number {refusal}") from None
