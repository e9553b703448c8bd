"""Messages per second and CPU seconds per 1,000 messages of one worker, against the sandbox.

    ./deploy/local/setup && .venv/bin/python -m tests.bench.throughput --messages 8000 --rounds 3

Starts its own broker, database and sandbox; any setting of the worker may follow as NAME=VALUE.
The sandbox shares the cores, so the figures are a lower bound: compare them, do not quote them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "local"))

from local_stack import Stack
from tests.e2e.harness import CHECKOUT, House, request, sandbox, until


def load_round(house: House, number: int, messages: int, settings: dict[str, str]) -> None:
    """Publish a backlog, start a worker, and print what it took."""
    before = house.count()
    house.publish_many(request(f"{number}-{each}") for each in range(messages))
    worker = house.start_worker(**settings)
    cpu, started = worker.cpu_seconds(), time.monotonic()
    until(lambda: house.count() == before + messages, 600)
    seconds = time.monotonic() - started
    cpu = worker.cpu_seconds() - cpu
    print(
        f"round {number}: {messages / seconds:.0f} msg/s, {cpu / messages * 1000:.3f} CPU s/1,000"
    )
    worker.stop()


def light_load(house: House, settings: dict[str, str]) -> None:
    """Publish 20 messages a second and print how long a result takes from claim to commit."""
    house.start_worker(**settings)
    for number in range(100):
        house.publish(request(f"light-{number}"))
        time.sleep(0.05)
    query = """SELECT extract(epoch FROM completed_at - requested_at) * 1000 AS ms
                 FROM verification_v1.results WHERE request_id LIKE 'light-%%'"""
    until(lambda: len(house.rows(query)) == 100)
    times = sorted(float(row["ms"]) for row in house.rows(query))
    print(
        f"20 msg/s: claim to commit p50 {statistics.median(times):.1f} ms, p99 {times[98]:.1f} ms"
    )


def main() -> None:
    """Run the rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.0, help="of the sandbox, in seconds")
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    given = parser.parse_args()
    settings = dict(each.split("=", 1) for each in given.settings)
    with Stack({}) as stack, sandbox(given.latency) as provider:
        database = stack.database.create_database("throughput")
        migrate = [sys.executable, "-m", "alembic", "upgrade", "head"]
        environment = {**os.environ, "DATABASE_URL": database}
        subprocess.run(migrate, env=environment, cwd=CHECKOUT, check=True)
        house = House(stack.broker.url, database, provider)
        house.command("topology", "apply")
        house.collect_events()
        try:
            for number in range(given.rounds):
                load_round(house, number, given.messages, settings)
            light_load(house, settings)
        finally:
            house.close()


if __name__ == "__main__":
    main()
