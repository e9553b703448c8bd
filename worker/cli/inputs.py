"""What people give to a command: ID numbers on standard input, times, and what day it is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from worker.admin.cells import read_moment
from worker.cli.mistakes import UserMistake
from worker.core.checks import FieldRefused, IdCardCheck, check_id_card
from worker.core.timing import shanghai_date
from worker.telemetry.clock import SystemClock

if TYPE_CHECKING:
    from datetime import date, datetime


def today() -> date:
    """Return the day by which dates of birth are judged."""
    return shanghai_date(SystemClock().now())


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
