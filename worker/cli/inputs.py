"""What people give to a command: groups of options, their word, ID numbers, times."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from datetime import datetime
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated

import typer

from worker.admin.cells import read_moment
from worker.cli.mistakes import UserMistake
from worker.cli.tables import AsJson
from worker.core.checks import FieldRefused, IdCardCheck, check_id_card
from worker.telemetry.clock import today

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses: each of their fields is an option of its own."""
    groups: dict[str, type] = {}
    parameters: list[Parameter] = []
    for each in signature(command, eval_str=True).parameters.values():
        if isinstance(each.annotation, type) and is_dataclass(each.annotation):
            groups[each.name] = each.annotation
            parameters += signature(each.annotation, eval_str=True).parameters.values()
        else:
            parameters.append(each)
    options = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in parameters]

    @wraps(command)
    def run(**given: object) -> None:
        for name, group in groups.items():
            fields = signature(group).parameters
            given[name] = group(**{field: given.pop(field) for field in fields})
        command(**given)

    run.__signature__ = Signature(options)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in options}
    return run


@dataclass(frozen=True, slots=True)
class Order:
    """How somebody orders what cannot be undone."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = (
        False
    )
    yes: Yes = False
    as_json: AsJson = False

    def agreed(self, verb: str, what: str, show: Callable[[], None]) -> bool:
        """Show what is meant and ask, unless that was answered on the command line."""
        asking = not self.yes and sys.stdin.isatty()
        if self.dry_run or (asking and not self.as_json):
            show()
        if self.dry_run or self.yes:
            return not self.dry_run
        if not asking:
            raise UserMistake(f"nobody is there to ask: give --yes to {verb}, or --dry-run to look")
        return typer.confirm(f"{verb} {what}?", err=True)


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
