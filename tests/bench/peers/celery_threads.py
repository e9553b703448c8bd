"""Celery 5 with a pool of threads.

As its documentation has it: a quorum queue by its argument, detected by Celery, which then sets
the prefetch for each consumer ("Using Quorum Queues"; native delayed delivery wants a topic
exchange); late acks for idempotent tasks; `worker_prefetch_multiplier` large for many short tasks
("Optimizing"); a pool of broker connections for the threads that publish; `confirm_publish` in
the transport's options; no result backend. Gossip, mingle, heartbeat events and remote control
are off, for nobody listens to them.

A failed task is retried with a growing delay by `autoretry_for`: with late acks Celery would
otherwise acknowledge it. "Task received" is silenced, so that one line a message is left.

Two things to know when measuring: at its first start on a vhost it declares 28 quorum queues for
delayed tasks, which keeps the broker busy for seconds after "ready"; and an idle worker notices
SIGTERM only when its event loop's poll ends, after ten seconds at most.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from celery import Celery, signals
from celery.exceptions import Reject
from kombu import Exchange, Queue

from tests.bench.peers.blocking import Job
from tests.bench.peers.common import RESULTS, InvalidRequest, Settings
from tests.bench.peers.queues import CELERY_TASK, PEERS, QUORUM

QUEUE = PEERS["celery_threads"].queue


def build(settings: Settings) -> tuple[Any, Job]:
    """Return the application and its job."""
    app: Any = Celery("peer", broker=settings.amqp_url)
    app.conf.update(
        task_queues=[
            Queue(QUEUE, Exchange(QUEUE, "topic"), routing_key=QUEUE, queue_arguments=QUORUM)
        ],
        task_default_queue=QUEUE,
        task_default_exchange_type="topic",
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=max(1, settings.prefetch // settings.concurrency),
        worker_enable_remote_control=False,
        broker_pool_limit=settings.concurrency,
        broker_transport_options={"confirm_publish": True},
        broker_connection_retry_on_startup=True,
    )
    job = Job(settings)

    def verify(message: object) -> None:
        try:
            happened = job.run(message)
        except InvalidRequest as refusal:
            raise Reject(str(refusal), requeue=False) from refusal
        with app.producer_pool.acquire(block=True) as producer:
            producer.publish(
                happened.body,
                exchange=RESULTS,
                routing_key=happened.routing_key,
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode=2,
                message_id=happened.request_id,
                retry=True,
                retry_policy=app.conf.task_publish_retry_policy,
            )

    app.task(
        verify,
        name=CELERY_TASK,
        autoretry_for=(Exception,),
        dont_autoretry_for=(Reject,),
        retry_backoff=True,
        max_retries=None,
    )
    return app, job


def main() -> None:
    """Run the worker until SIGTERM, which Celery calls a warm shutdown."""
    settings = Settings.from_environment()
    app, job = build(settings)

    @signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator, unused-ignore]
    def ready(**_: object) -> None:
        # Celery has turned sys.stdout into a logger.
        print("ready", file=sys.__stdout__, flush=True)

    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
    pool = ["--pool=threads", f"--concurrency={settings.concurrency}"]
    silence = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=INFO"]
    try:
        app.worker_main(["--quiet", "worker", *pool, *silence])
    finally:
        job.close()


if __name__ == "__main__":
    main()
