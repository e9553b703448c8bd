"""`verification-worker topology`: the broker's exchanges and queues."""

import sys

import typer

from worker.amqp import declare
from worker.amqp.topology import Topology
from worker.amqp.topology import topology as needed_by
from worker.cli.mistakes import broker_mistakes
from worker.cli.tables import AsJson, print_json
from worker.settings import BrokerSettings, load

topology = typer.Typer(no_args_is_help=True, help="The broker's exchanges and queues.")


@topology.command()
def apply() -> None:
    """Declare the exchanges, queues and bindings."""
    with broker_mistakes():
        declare.apply(*_broker_and_topology())
    typer.echo("the topology is in place")


@topology.command()
def check(*, as_json: AsJson = False) -> None:
    """Say each difference between the broker and what the worker needs; exit 1 if there is one."""
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
    settings = load(BrokerSettings)
    needed = needed_by(settings.retry_delays, settings.dead_letter_days)
    return settings.amqp_url.get_secret_value(), needed
