"""`verification-worker`: the commands and what they have in common.

A command imports its room when it runs: all of them together take half a second to load.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from worker.cli import (
    contract,
    deadletters,
    explain,
    fleet,
    outbox,
    reconcile,
    retention,
    sandbox,
    status,
    submit,
)
from worker.cli.errors import UserMistake, broker_mistakes
from worker.core.checks import FieldRefused, IdCardCheck, check_id_card
from worker.core.digests import Digests
from worker.settings import BrokerSettings, DigestSettings, Settings, SettingsInvalid, load, show
from worker.telemetry.clock import SystemClock

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Verifies identities through JD Cloud personalAuth: once per request, results in "
    "PostgreSQL, events on RabbitMQ.",
)
topology_app = typer.Typer(no_args_is_help=True, help="The broker's exchanges and queues.")
app.add_typer(topology_app, name="topology")
app.command(name="status")(status.status)
app.command(name="pause")(fleet.pause)
app.command(name="resume")(fleet.resume)
app.command(name="submit")(submit.submit)
app.command(name="reconcile")(reconcile.reconcile)
app.command(name="explain")(explain.explain)
app.add_typer(deadletters.app, name="dead-letters")
app.add_typer(outbox.app, name="outbox")
app.command(name="retention")(retention.retention)
app.add_typer(contract.app, name="contract")
app.command(name="sandbox")(sandbox.sandbox)


def main() -> None:
    """Run one command; turn a user's mistake into one line and exit code 2."""
    try:
        app()
    except SettingsInvalid as invalid:
        for problem in invalid.problems:
            _complain(problem)
        sys.exit(2)
    except UserMistake as mistake:
        _complain(str(mistake))
        sys.exit(2)


def _complain(words: str) -> None:
    sys.stderr.write(f"verification-worker: {words}\n")


@app.command()
def run() -> None:
    """Consume requests until SIGTERM or SIGINT."""
    from worker.bootstrap import Worker
    from worker.telemetry.logs import configure

    settings = load(Settings)
    configure(settings.log_format, settings.log_level)
    try:
        with broker_mistakes():
            worker = Worker(settings)
    except OSError as error:
        raise UserMistake(f"HTTP_PORT: cannot be opened ({error.strerror})") from None
    sys.exit(worker.run())


@app.command(name="check-config")
def check_config() -> None:
    """Check the settings and print them, secrets hidden."""
    table = Table("setting", "value", "meaning", box=None, header_style="bold")
    for row in show(load(Settings)):
        table.add_row(row.name, row.value + (" (default)" if row.default else ""), row.description)
    Console().print(table)


@app.command()
def digest(
    *,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Do not check the number first.")
    ] = False,
) -> None:
    """Print the subject_digest of the ID number on standard input (never an argument)."""
    digests = Digests(load(DigestSettings).digest_key.get_secret_value().encode())
    how = IdCardCheck.OFF if unchecked else IdCardCheck.STRICT
    try:
        number = check_id_card(sys.stdin.readline(), how, SystemClock().now().date())
    except FieldRefused as refusal:
        raise UserMistake(f"the ID number {refusal}") from None
    typer.echo(digests.subject(number).hex())


@topology_app.command(name="apply")
def topology_apply() -> None:
    """Declare the exchanges, queues and bindings."""
    from worker.amqp import declare
    from worker.amqp.topology import topology

    settings = load(BrokerSettings)
    with broker_mistakes():
        declare.apply(
            settings.amqp_url.get_secret_value(),
            topology(settings.retry_delays, settings.dead_letter_days),
        )
    typer.echo("the topology is in place")


@topology_app.command(name="check")
def topology_check() -> None:
    """Say each difference between the broker and what the worker needs; exit 1 if there is one."""
    from worker.amqp import declare
    from worker.amqp.topology import topology

    settings = load(BrokerSettings)
    with broker_mistakes():
        differences = declare.check(
            settings.amqp_url.get_secret_value(),
            topology(settings.retry_delays, settings.dead_letter_days),
        )
    for difference in differences:
        typer.echo(difference)
    if differences:
        sys.exit(1)
    typer.echo("the topology is in place")
