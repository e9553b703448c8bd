"""ID numbers as people give them to a command: on standard input, never an argument."""

from __future__ import annotations

import sys

import typer


def id_card_lines() -> list[str]:
    """Return the lines that are not blank; where a person sits there, one, typed unseen."""
    if sys.stdin.isatty():
        return [typer.prompt("ID number", hide_input=True, err=True)]
    return [line for line in sys.stdin.read().splitlines() if line.strip()]
