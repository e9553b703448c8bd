"""The example messages that are published with the contract: one request and event per outcome.

`examples/requests/NAME.json` is what is published, `examples/results/NAME.json` the event that
answers it: a test has a real worker publish the same, up to ids and times. `unreadable` is
`rejected` for a message that is no request at all.
"""

from pathlib import Path
from typing import Any

import orjson

FOLDER = Path(__file__).parent / "examples"

NAMES = tuple("match mismatch no_record rejected expired failed conflict unreadable".split())
"""In the order in which they must be published: `conflict` repeats the requestId of `match`."""

NO_REQUESTS = frozenset({"unreadable"})
"""What the schema of requests refuses; a value that only our checks refuse passes it."""


def example_request(name: str) -> Any:
    """Return the body of a request as parsed JSON."""
    return orjson.loads((FOLDER / "requests" / f"{name}.json").read_bytes())


def example_result(name: str) -> dict[str, Any]:
    """Return the body of the event that answers the request of this name."""
    event: dict[str, Any] = orjson.loads((FOLDER / "results" / f"{name}.json").read_bytes())
    return event
