"""Requests that the broker has given up by its delivery limit: that is no outcome.

Each worker that dies, and each connection that is lost, counts against all messages that it held.
So what the broker gives up is put back into its requests queue, some times; a message that is
given up even then is ended as failed by whoever gets it next (`Flow`).
"""

import structlog

from worker.amqp.broker_errors import AccessRefused, AmqpError
from worker.amqp.dead_letter_queue import DeadLetterQueue
from worker.contract import internal
from worker.core.delivery import Letter
from worker.maintenance.chores import Chore
from worker.ports import Clock, Publisher
from worker.telemetry.logs import LogEvent
from worker.telemetry.metrics import Metrics

# They are dead letters for days: some minutes are soon. A look opens two connections.
_INTERVAL = 300.0
_LIMIT = 100


def given_up_requests(url: str, broker: Publisher, clock: Clock, metrics: Metrics) -> Chore:
    """Put back what the broker has given up, and see how old the oldest dead letter is.

    A worker whose user may not read the dead letters says so once. People's tools wait for a look
    that is under way, and a look does not wait for them.
    """
    log = structlog.get_logger()
    is_refused = False

    def run_once() -> int:
        nonlocal is_refused
        if is_refused or not broker.connected or broker.blocked:
            return 0
        returned = 0
        try:
            with DeadLetterQueue.opened(url) as queue:
                if not queue.depth():
                    metrics.oldest_dead_letter(0.0)
                    return 0
                oldest = now = clock.now()
                with queue.hold() as held:
                    for letter in held.letters():  # to the end, or their order is lost
                        oldest = min(oldest, internal.first_seen(letter.headers) or now)
                        if returned < _LIMIT and _was_given_up(letter):
                            held.publish(internal.returned(letter.delivery))
                            held.acknowledge(letter)
                            metrics.returned()
                            returned += 1
                metrics.oldest_dead_letter((now - oldest).total_seconds())
        except AccessRefused as refusal:
            is_refused = True
            log.warning(LogEvent.DEAD_LETTERS_REFUSED, problem=str(refusal))
        except AmqpError:
            pass  # a person's tool holds them, or the broker is away: the next look will do
        if returned:
            log.warning(LogEvent.RETURNED, messages=returned)
        return returned

    return Chore("given-up requests", _INTERVAL, _LIMIT, run_once, first_after=60.0)


def _was_given_up(letter: Letter) -> bool:
    """Return whether the broker gave it up itself, by its limit."""
    return internal.death(letter.headers) == "delivery_limit"
