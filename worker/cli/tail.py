"""`verification-worker tail`: result events as they come."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

import orjson
import typer

from worker.admin.cells import shown
from worker.amqp.request_client import events
from worker.cli.mistakes import broker_mistakes
from worker.cli.tables import note
from worker.core.outcome import Outcome
from worker.settings import BrokerSettings, load

# What a line cannot do without.
_TEXTS = ("eventId", "completedAt", "outcome", "charged", "source")


def tail(
    outcome: Annotated[Outcome | None, typer.Option(help="Only with this outcome.")] = None,
    source: Annotated[str | None, typer.Option(help="Only of this publishing system.")] = None,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print whole events, one a line.")
    ] = False,
) -> None:
    """Print result events as they are published, until Ctrl-C.

    They come from a queue of its own, which is gone with the command; nobody else misses an event.
    But one that nobody else is bound for comes here alone meanwhile, and not into
    verification.unrouted.
    """
    settings = load(BrokerSettings)
    url = settings.amqp_url.get_secret_value()
    with broker_mistakes(), suppress(KeyboardInterrupt):
        for body in events(url, lambda: note("listening; Ctrl-C ends it")):
            event = _event(body)
            if event is None:
                continue
            if outcome in (None, event["outcome"]) and source in (None, event["source"]):
                typer.echo(body if as_json else _line(event))


def _event(body: bytes) -> Mapping[str, Any] | None:
    """Return a result event; None for what somebody else publishes there."""
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    is_one = isinstance(tree, dict) and all(isinstance(tree.get(name), str) for name in _TEXTS)
    return tree if is_one else None


def _line(event: Mapping[str, Any]) -> str:
    error = event.get("error")
    cells = (
        f"{shown(event['completedAt'][:19])}Z",
        f"{shown(event['outcome']):<9}",
        f"charged {shown(event['charged']):<7}",
        shown(event["source"]),
        shown(event.get("requestId")),
        shown(error.get("kind")) if isinstance(error, dict) else "",
    )
    return "  ".join(cells).rstrip()
