"""`verification-worker`: its commands; the one that is named is loaded alone.

All of them together take half a second more, which only help and completion spend.
"""

import sys
from importlib import import_module
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated

import typer

from worker.cli.mistakes import complain, one_line_each
from worker.cli.usage import words_of

_EXIT_CODES = (
    "Exit codes of all commands: **0** all is well; **1** it was done, and not all is well: a "
    "request without an answer (rejected, failed, expired, conflict, or none in time), a "
    "difference, nothing of that name; **2** it could not be done: a mistake in the command or a "
    "setting, or a server that does not answer. Standard error says what to do."
)
# By the groups of `--help`, in its order. Each is a function, or an application of its own, of the
# same name in a module of that name.
_COMMANDS = {
    "Set up and run": "run check-config retention sandbox topology",
    "Look and steer": "status console tail pause resume reconcile explain restore-check erase "
    "requests dead-letters unrouted events outbox",
    "Requests and results": "submit digest contract message-keys",
}
_MODULES = {"resume": "pause", "outbox": "events", "unrouted": "events"}


def application(name: str | None = None) -> typer.Typer:
    """Return the program with all commands, or where one is named with that one alone."""
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="markdown",  # joins the lines of a docstring's paragraphs
        context_settings={"help_option_names": ["-h", "--help"]},
        add_completion=True,
        pretty_exceptions_enable=False,
        help="Verifies identities through JD Cloud personalAuth: once per request, results in "
        "PostgreSQL, events on RabbitMQ.",
        epilog=_EXIT_CODES,
    )
    app.callback()(_options)
    panels = {each: panel for panel, names in _COMMANDS.items() for each in names.split()}
    for each in [name] if name in panels else panels:
        place = each.replace("-", "_")
        command = getattr(import_module(f"worker.cli.{_MODULES.get(each, place)}"), place)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=each, rich_help_panel=panels[each])
        else:
            app.command(name=each, rich_help_panel=panels[each])(command)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"verification-worker {version('verification-worker')}")
        raise typer.Exit


def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Take what stands before a command."""


def main() -> None:
    """Run one command; turn a user's mistake into one line and exit code 2."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A character that the terminal's encoding lacks becomes a question mark, and no error.
        sys.stdout.reconfigure(errors="replace")
    try:
        with one_line_each():
            sys.exit(application(*sys.argv[1:2])(standalone_mode=False))
    except typer.TyperException as mistake:
        if words := words_of(mistake):
            complain(words)
        sys.exit(2)
    except typer.Abort:
        complain("nothing was done")
        sys.exit(1)
