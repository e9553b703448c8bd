"""The names that publishers, the worker and the broker share."""

REQUESTS = "verification.requests"
"""The exchange that takes requests, and the queue behind it."""

RETRY_PREFIX = "verification.retry."
"""A retry queue's name is this and its delay: `verification.retry.30s`."""

DEAD = "verification.dead"
"""The queue of what could not be processed."""

RESULTS = "verification.results"
"""The exchange that takes result events."""

UNROUTED = "verification.unrouted"
"""The alternate exchange of the results, and the queue that keeps what nobody was bound for."""

EVENT_TYPE = "verification.result.v1"
"""The `type` property of a result event."""
