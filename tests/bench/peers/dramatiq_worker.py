"""Dramatiq 2 on RabbitMQ: PROCESSES processes (1 by default) share CONCURRENCY threads.

As its documentation has it: run by its own command line, a broker made by a callable in each
process, `confirm_delivery`, the default middleware (retries with a growing delay, time and age
limits), prefetch by `dramatiq_queue_prefetch`, which is 2 for each thread unless it is set.

Dramatiq has no setting for quorum queues (priorities, which they do not have, stay off): the
arguments of its queues are extended by one, in a subclass. The event goes out on the channel that
its broker keeps for each thread, with confirms, and once more on a new one if that has died, as
`Broker.enqueue` does.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import dramatiq
import pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from pika.exceptions import AMQPError

from tests.bench.peers.blocking import Job
from tests.bench.peers.common import RESULTS, Event, InvalidRequest, Settings
from tests.bench.peers.queues import DRAMATIQ_ACTOR, PEERS, QUORUM

QUEUE = PEERS["dramatiq_worker"].queue


class QuorumBroker(RabbitmqBroker):  # type: ignore[misc, unused-ignore]
    """Dramatiq's broker with quorum queues."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        arguments: dict[str, Any] = super()._build_queue_arguments(queue_name)
        return {**arguments, **QUORUM}

    def announce(self, event: Event) -> None:
        """Publish an event; it is confirmed when this returns."""
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=2, message_id=event.request_id
        )
        try:
            self.channel.basic_publish(RESULTS, event.routing_key, event.body, properties)
        except AMQPError:
            # Nobody serves a thread's connection while the thread is idle.
            del self.connection
            self.channel.basic_publish(RESULTS, event.routing_key, event.body, properties)


class Closing(dramatiq.Middleware):  # type: ignore[misc, unused-ignore]
    """Closes what the job holds when the process has stopped."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def after_worker_shutdown(self, broker: Any, worker: Any) -> None:
        """All threads have ended."""
        self._job.close()


def set_up() -> None:
    """Make the broker and the actor of one process; Dramatiq calls it after the fork."""
    settings = Settings.from_environment()
    job = Job(settings)
    broker: Any = QuorumBroker(url=settings.amqp_url, confirm_delivery=True)
    broker.add_middleware(Closing(job))
    dramatiq.set_broker(broker)

    def verify(message: object) -> None:
        event = job.run(message)
        broker.announce(event)
        actor.logger.info("verified %s: %s", event.request_id, event.routing_key)

    actor: Any = dramatiq.actor(
        verify, actor_name=DRAMATIQ_ACTOR, queue_name=QUEUE, throws=InvalidRequest
    )


def main() -> int:
    """Run Dramatiq's command line until SIGTERM."""
    settings = Settings.from_environment()
    processes = int(os.environ.get("PROCESSES", "1"))
    threads = max(1, settings.concurrency // processes)
    # Dramatiq reads it when it is imported.
    os.environ["dramatiq_queue_prefetch"] = str(max(1, settings.prefetch // processes))  # noqa: SIM112
    os.environ["DATABASE_CONNECTIONS"] = str(max(1, settings.connections // processes))
    from dramatiq import cli

    module = "tests.bench.peers.dramatiq_worker:set_up"
    arguments = [module, f"--processes={processes}", f"--threads={threads}"]
    return int(cli.main(cli.make_argument_parser().parse_args(arguments)) or 0)


if __name__ == "__main__":
    sys.exit(main())
