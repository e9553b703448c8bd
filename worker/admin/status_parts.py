"""Queues, requests, calls and workers at a glance: each part is read by itself. It blocks."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Engine

from worker.amqp.declare import depths
from worker.amqp.topology import request_queues
from worker.contract.names import DEAD, UNROUTED
from worker.settings import StatusSettings
from worker.store.fleet import PostgresPause, find_blocker
from worker.store.overview import HEAD, PostgresOverview

PATIENCE = 2
"""Seconds for a statement of the parts: a table that is locked shall not hide the others."""


def reads(engine: Engine, settings: StatusSettings) -> dict[str, Callable[[], Any]]:
    """Return what reads each part, by its name.

    `queues` raises AmqpError, all others `ports.LedgerUnavailable`; who cannot read the `schema`
    reads nothing of the database.
    """
    overview, order = PostgresOverview(engine), PostgresPause(engine)

    def schema() -> object:
        revision = overview.revision()
        return {"revision": revision, "head": HEAD, "is_head": revision == HEAD}

    def pause() -> object:
        hold = order.read()
        return {"paused": hold is not None, **(asdict(hold) if hold else {})}

    return {
        "queues": lambda: _queues(settings),
        "schema": schema,
        "fleet": pause,
        "open_requests": overview.open_requests,
        "unsent_events": overview.unsent_events,
        "outcomes_last_hour": overview.outcomes,
        "calls_last_hour": overview.calls,
        "budget": lambda: {
            "daily_call_budget": settings.daily_call_budget or None,
            "bulk_daily_call_budget": settings.bulk_daily_call_budget or None,
            "calls_per_minute": settings.provider_calls_per_minute or None,
            "today": overview.today(),
        },
        "workers": overview.workers,
        "locks": lambda: (found := find_blocker(engine)) and asdict(found),
    }


def _queues(settings: StatusSettings) -> list[dict[str, Any]]:
    """Return the depths in the order of a message's life."""
    queues = [*request_queues(settings.retry_delays), DEAD, UNROUTED]
    found = depths(settings.amqp_url.get_secret_value(), queues)
    return [asdict(each) for each in found]
