"""Runs commands one after another in one process, whose terminal is the environment's.

    python tests/e2e/every_command.py < commands.json

Each is a list of arguments; without a server's answer needed, `--help` of every command there is
comes first. On standard error stand the exit codes, an object by command, and nothing else of ours.
"""

from __future__ import annotations

import io
import json
import sys
import traceback

import typer

from worker.cli import main
from worker.cli.app import application


def all_commands(group: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the arguments of each command."""
    commands: dict[str, object] = getattr(group, "commands", {})
    found = [all_commands(each, (*path, name)) for name, each in commands.items()]
    return [path, *(each for several in found for each in several)]


def ended(arguments: list[str], given: str = "") -> object:
    """Run one command; return its exit code, or the traceback that a person would see."""
    sys.argv = ["verification-worker", *arguments]
    sys.stdin = io.TextIOWrapper(io.BytesIO(given.encode()), encoding="utf-8")
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    except BaseException:  # noqa: BLE001  # what it was is told
        return traceback.format_exc()
    finally:
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    wanted = json.load(sys.stdin.buffer)
    helps = [[*each, "--help"] for each in all_commands(typer.main.get_command(application()))]
    codes = {" ".join(each): ended(list(each)) for each in [*helps, *wanted]}
    print(json.dumps({"codes": codes}), file=sys.stderr)
