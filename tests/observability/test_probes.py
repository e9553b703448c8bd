"""What a worker's probes say while others are away, and when its schema is too old."""

from local_ports import free_ports
from tests.e2e.harness import Stack, free_port, until

BEHIND = "the schema is not at head: run `alembic upgrade head`"


def test_a_worker_whose_schema_is_too_old_is_alive_and_not_ready(stack: Stack) -> None:
    stack.as_owner("UPDATE verification.alembic_version SET version_num = '0003'")
    worker = stack.start_worker(HTTP_PORT=free_port())
    assert until(lambda: (said := worker.asked("/readyz"))[0] == 503 and said) == (503, BEHIND)
    assert worker.asked("/livez") == (200, "ok")
    assert "verification_schema_behind 1.0" in worker.asked("/metrics")[1]
    assert worker.stop() == 0


def test_a_worker_without_broker_and_database_is_alive_not_ready_and_says_so(stack: Stack) -> None:
    (nobody,) = free_ports(1)
    worker = stack.launch_worker(
        HTTP_PORT=free_port(),
        AMQP_URL=f"amqp://guest:guest@127.0.0.1:{nobody}/",
        DATABASE_URL=f"postgresql://nobody@127.0.0.1:{nobody}/nothing",
    )
    until(lambda: worker.said("amqp.connection_lost"))
    until(lambda: worker.said("database.unavailable"))
    assert worker.asked("/livez") == (200, "ok")
    status, words = worker.asked("/readyz")
    assert status == 503
    assert "the broker is not connected" in words
    text = until(lambda: "verification_database_up 0.0" in (t := worker.asked("/metrics")[1]) and t)
    assert "verification_broker_connected 0.0" in text
    assert "verification_outbox_events" not in text
    assert worker.stop() == 0
