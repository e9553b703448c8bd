"""Messages that the worker publishes for itself: retries, dead letters and their replays.

All carry the original body and properties. Own headers do not begin with `x-`: brokers from 4.0
on ignore a client's `x-death`, and foreign `x-` headers mean nothing to us. The publisher's
`expiration` is dropped: in a delay queue it would cut the wait short. Its `user_id` becomes a
header, for the broker refuses a message that names another user than the one who publishes it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from worker.contract import leaks
from worker.contract.envelope import usable_traceparent
from worker.contract.names import DEAD, REQUEST_QUEUES, RETRY_PREFIXES, retry_queue, rfc3339
from worker.core.delivery import Delivery, Publication
from worker.core.request import Lane

LANE = "lane"
"""The lane of a dead letter, in its headers; none: live."""
PUBLISHED_BY = "publisherUserId"
PUBLISHED_AS = "publisherRoutingKey"
"""Who published a message, and under which key, in the headers of what we publish of it again."""


def retry(delivery: Delivery, delay: int) -> Publication:
    """Return the same message for its lane's queue that waits `delay` seconds."""
    # What has brought workers down does so again, whatever it waited for in between.
    headers: dict[str, str | int] = {"returned": delivery.returned} if delivery.returned else {}
    return _again(delivery, retry_queue(delay, delivery.lane), headers)


def is_retry(publication: Publication) -> bool:
    """Return whether this is a message on its way to a retry queue."""
    prefixes = tuple(RETRY_PREFIXES.values())
    return not publication.exchange and publication.routing_key.startswith(prefixes)


def dead_letter(
    delivery: Delivery, reason: str, *, attempts: int, last_error: str, first_seen: datetime
) -> Publication:
    """Return the same message for the dead-letter queue; all codes come from closed lists."""
    headers: dict[str, str | int] = {
        "reason": reason,
        "attempts": attempts,
        "firstSeen": rfc3339(first_seen),
        "lastError": last_error,
    }
    if delivery.lane is not Lane.LIVE:
        headers[LANE] = delivery.lane.value
    return _again(delivery, DEAD, headers)


def lane_of(headers: Mapping[str, object]) -> Lane:
    """Return the lane of a dead letter, ours or the broker's own."""
    if headers.get(LANE) == Lane.BULK:
        return Lane.BULK
    queues = [each.get("queue") for each in _deaths(headers)]
    return Lane.BULK if REQUEST_QUEUES[Lane.BULK] in queues else Lane.LIVE


def death(headers: Mapping[str, object]) -> object:
    """Return for what the broker itself made a message a dead letter; None: it did not.

    A request that was retried has died before, in a retry queue: that is its first death. And its
    publisher may have headers that are called as ours.
    """
    for each in _deaths(headers):
        if each.get("queue") in REQUEST_QUEUES.values():
            return each.get("reason")
    return None


def _deaths(headers: Mapping[str, object]) -> list[dict[str, object]]:
    """Return where and why the broker has dead-lettered a message, the last time first."""
    deaths = headers.get("x-death")
    return [each for each in deaths if isinstance(each, dict)] if isinstance(deaths, list) else []


def first_seen(headers: Mapping[str, object]) -> datetime | None:
    """Return when a dead letter's request was first seen, or when the broker itself put it here.

    None where nothing readable says so.
    """
    told = headers.get("firstSeen")
    if isinstance(told, str):
        try:
            seen = datetime.fromisoformat(told)
            return seen.astimezone(UTC) if seen.tzinfo else None
        except (ValueError, OverflowError):
            return None
    match headers.get("x-death"):
        case [*_, {"time": datetime() as died}]:
            # pika hands over AMQP's times, which are UTC, without a zone.
            return died.replace(tzinfo=UTC)
    return None


def replay(delivery: Delivery) -> Publication:
    """Return the message of a dead letter for its lane's requests queue, as its publisher sent it.

    Not over the exchange: others who are bound there have had this message already.
    """
    return _again(delivery, REQUEST_QUEUES[delivery.lane], {})


def returned(delivery: Delivery) -> Publication:
    """Return a message that the broker has given up for its requests queue, and count that."""
    return _again(delivery, REQUEST_QUEUES[delivery.lane], {"returned": delivery.returned + 1})


def _again(delivery: Delivery, queue: str, headers: dict[str, str | int]) -> Publication:
    if (traceparent := usable_traceparent(delivery)) is not None:
        headers["traceparent"] = traceparent
    sender = ((PUBLISHED_BY, delivery.user_id), (PUBLISHED_AS, delivery.routing_key))
    headers |= {name: said for name, said in sender if said and not leaks.may_be_id_number(said)}
    return Publication(
        exchange="",
        routing_key=queue,
        body=delivery.body,
        message_id=delivery.message_id,
        correlation_id=delivery.correlation_id,
        reply_to=delivery.reply_to,
        app_id=delivery.app_id,
        # The way through the retry queues counts as waiting too.
        timestamp=None if delivery.published_at is None else int(delivery.published_at),
        headers=headers,
        content_encoding=delivery.content_encoding,
    )
