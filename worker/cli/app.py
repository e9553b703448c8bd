"""`verification-worker`: the commands and what they have in common.

A command imports its room when it runs: all of them together take half a second to load.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import (
    check_config,
    console,
    contract,
    deadletters,
    erase,
    explain,
    message_keys,
    outbox,
    pause,
    reconcile,
    requests,
    restore_check,
    retention,
    run,
    sandbox,
    status,
    submit,
    tail,
    unrouted,
)
from worker.cli.inputs import id_card, id_card_lines
from worker.cli.mistakes import UserMistake, broker_mistakes, complain, one_line_each
from worker.cli.tables import AsJson, print_json
from worker.cli.usage import refuse_ignored, words_of
from worker.settings import BrokerSettings, DigestSettings, load

if TYPE_CHECKING:
    from worker.amqp.topology import Topology

_EXIT_CODES = (
    "Exit codes of all commands: **0** all is well; **1** it was done, and not all is well: a "
    "request without an answer (rejected, failed, expired, conflict, or none in time), a "
    "difference, nothing of that name; **2** it could not be done: a mistake in the command or a "
    "setting, or a server that does not answer. Standard error says what to do."
)
# The groups of `--help`.
_RUN, _OPERATE, _ASK = "Set up and run", "Look and steer", "Requests and results"

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
topology_app = typer.Typer(no_args_is_help=True, help="The broker's exchanges and queues.")
app.add_typer(topology_app, name="topology", rich_help_panel=_RUN)
app.command(name="run", rich_help_panel=_RUN)(run.run)
app.command(name="check-config", rich_help_panel=_RUN)(check_config.check_config)
app.command(name="status", rich_help_panel=_OPERATE)(status.status)
app.command(name="console", rich_help_panel=_OPERATE)(console.console)
app.command(name="tail", rich_help_panel=_OPERATE)(tail.tail)
app.add_typer(requests.app, name="requests", rich_help_panel=_OPERATE)
app.command(name="pause", rich_help_panel=_OPERATE)(pause.pause)
app.command(name="resume", rich_help_panel=_OPERATE)(pause.resume)
app.command(name="submit", rich_help_panel=_ASK)(submit.submit)
app.command(name="reconcile", rich_help_panel=_OPERATE)(reconcile.reconcile)
app.command(name="explain", rich_help_panel=_OPERATE)(explain.explain)
app.add_typer(deadletters.app, name="dead-letters", rich_help_panel=_OPERATE)
app.add_typer(unrouted.app, name="unrouted", rich_help_panel=_OPERATE)
app.add_typer(unrouted.events_app, name="events", rich_help_panel=_OPERATE)
app.add_typer(outbox.app, name="outbox", rich_help_panel=_OPERATE)
app.command(name="retention", rich_help_panel=_RUN)(retention.retention)
app.command(name="restore-check", rich_help_panel=_OPERATE)(restore_check.restore_check)
app.command(name="erase", rich_help_panel=_OPERATE)(erase.erase)
app.add_typer(contract.app, name="contract", rich_help_panel=_ASK)
app.add_typer(message_keys.app, name="message-keys", rich_help_panel=_ASK)
app.command(name="sandbox", rich_help_panel=_RUN)(sandbox.sandbox)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"verification-worker {version('verification-worker')}")
        raise typer.Exit


@app.callback()
def options(
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
            sys.exit(app(standalone_mode=False))
    except typer.TyperException as mistake:
        if words := words_of(mistake):
            complain(words)
        sys.exit(2)
    except typer.Abort:
        complain("nothing was done")
        sys.exit(1)


@app.command(rich_help_panel=_ASK)
def digest(
    context: typer.Context,
    *,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Do not check the number first.")
    ] = False,
    keys: Annotated[
        bool, typer.Option("--keys", help="Print the ids of the keys instead; read nothing.")
    ] = False,
) -> None:
    """Print the subject_digest of the ID number on standard input (never an argument).

    While DIGEST_KEY is rotated: a line for each key, the current one first.
    """
    if keys:
        refuse_ignored(context, ["unchecked"], "no number is read with --keys")
    digests = load(DigestSettings).digests
    if keys:
        for place, key_id in enumerate(digests.key_ids):
            typer.echo(f"{key_id}  {'fallback' if place else 'current'}")
        return
    if len(lines := id_card_lines()) != 1:
        raise UserMistake(f"needs one ID number on standard input; there are {len(lines)}")
    number = id_card(lines[0], unchecked=unchecked)
    for each in digests.subjects(number):
        typer.echo(each.hex())


@topology_app.command(name="apply")
def topology_apply() -> None:
    """Declare the exchanges, queues and bindings."""
    from worker.amqp import declare

    with broker_mistakes():
        declare.apply(*_broker_and_topology())
    typer.echo("the topology is in place")


@topology_app.command(name="check")
def topology_check(*, as_json: AsJson = False) -> None:
    """Say each difference between the broker and what the worker needs; exit 1 if there is one."""
    from worker.amqp import declare

    with broker_mistakes():
        differences = declare.check(*_broker_and_topology())
    if as_json:
        print_json(list(differences))
    else:
        for difference in differences or ("the topology is in place",):
            typer.echo(difference)
    if differences:
        sys.exit(1)


def _broker_and_topology() -> tuple[str, Topology]:
    from worker.amqp.topology import topology

    settings = load(BrokerSettings)
    needed = topology(settings.retry_delays, settings.dead_letter_days)
    return settings.amqp_url.get_secret_value(), needed
