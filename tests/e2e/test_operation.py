"""Starting, stopping, commands: what the people who run it meet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from local_broker import Broker
from local_database import Database
from tests.e2e.harness import CHECKOUT, DEAD, ID_CARD, Process, Stack, request, until

if TYPE_CHECKING:
    from pathlib import Path

    from local_stack import Servers

CANARIES = {
    "name": "欧阳测试者",
    "id": ID_CARD,
    "card": "6222020200112230",
    "mobile": "13912345678",
}


def test_missing_settings_are_all_named_at_once_and_the_exit_code_is_2() -> None:
    empty = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-m", "worker", "run"],
        env=empty,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    for name in ("AMQP_URL", "DATABASE_URL", "PROVIDER_MODE", "PROVIDER_SECRET_KEY", "DIGEST_KEY"):
        assert f"{name}: is required" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_waits_for_a_broker_and_a_database_that_are_down(
    stack: Stack, servers: Servers
) -> None:
    broker, database = servers.broker, servers.database
    assert isinstance(broker, Broker)
    assert isinstance(database, Database), "this test stops its servers: unset the two URLs"
    stack.publish(request("patient"))
    stack.close()
    database.kill()
    broker.pause()
    try:
        worker = stack.launch_worker()
        until(lambda: worker.said("worker.starting"))
    finally:
        broker.resume()
    until(lambda: worker.said("database.unavailable"), 60)
    assert worker.popen.poll() is None
    database.start()
    until(lambda: worker.said("database.back"), 60)
    until(lambda: stack.count() == 1)
    assert worker.stop() == 0


def test_sigterm_under_load_finishes_what_is_paid_and_redelivers_nothing_finished(
    stack: Stack,
) -> None:
    stack.publish_many(request(f"stop-{number}") for number in range(2_000))
    first = stack.start_worker()
    until(lambda: stack.count() > 200)
    assert first.stop() == 0
    assert first.said('"clean":true')
    done = stack.count()
    assert stack.count("open_requests") == 0
    assert stack.depth("verification.requests") == 2_000 - done
    assert stack.depth("collector") == done == stack.provider.charges()["charges"]
    second = stack.start_worker()
    until(lambda: stack.count() == 2_000)
    assert second.stop() == 0
    assert stack.provider.charges()["charges"] == stack.depth("collector") == 2_000


def test_a_second_signal_leaves_at_once_and_loses_nothing(stack: Stack) -> None:
    hangs = "119999194912310275"
    stack.publish(request("hanging", hangs))
    worker = stack.start_worker()
    until(lambda: stack.provider.charges()["calls"] == 1)
    worker.popen.send_signal(signal.SIGINT)
    until(lambda: worker.said("worker.stopping"))
    worker.popen.send_signal(signal.SIGINT)
    assert worker.popen.wait(5) == 1
    until(lambda: stack.depth("verification.requests") == 1)


def test_submit_prints_the_result_of_one_request(stack: Stack) -> None:
    stack.start_worker()
    done = stack.command("submit", "-", text=json.dumps(request("by-hand")))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "match"
    flags = ["--check-type", "2", "--name", "张三", "--id-card", "119999194912310013"]
    assert json.loads(stack.command("submit", *flags).stdout)["outcome"] == "mismatch"
    in_vain = stack.command("submit", "--timeout", "1")
    assert (in_vain.returncode, in_vain.stderr.count("\n")) == (2, 1)


def test_the_digest_command_finds_a_person_in_the_results(stack: Stack) -> None:
    stack.publish(request("look-me-up"))
    stack.start_worker()
    until(lambda: stack.count() == 1)
    printed = stack.command("digest", text=f"{ID_CARD.lower()}\n").stdout.strip()
    query = "SELECT request_id FROM verification_v1.results WHERE subject_digest = %s"
    assert stack.rows(query, bytes.fromhex(printed)) == [{"request_id": "look-me-up"}]


def test_secrets_may_come_from_files_and_are_never_printed(stack: Stack, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sandbox-secret-key\n")
    del stack.environment["PROVIDER_SECRET_KEY"]
    stack.environment["PROVIDER_SECRET_KEY_FILE"] = str(secret)
    printed = stack.command("check-config")
    assert printed.returncode == 0, printed.stderr
    assert "sandbox-secret-key" not in printed.stdout
    stack.publish(request("with-file"))
    stack.start_worker()
    until(lambda: stack.count() == 1)
    assert stack.results()["with-file"]["outcome"] == "match"


def test_no_personal_data_reaches_a_log_a_table_an_event_or_a_header(stack: Stack) -> None:
    full = {
        "name": CANARIES["name"],
        "idCard": CANARIES["id"],
        "bankcard": CANARIES["card"],
        "mobile": CANARIES["mobile"],
    }
    worker = stack.start_worker(LOG_LEVEL="debug")
    spec = {"checkType": 0, "personalUser": full}
    wrong = {"checkType": 2, "personalUser": full}
    echoes = {"checkType": 0, "personalUser": {**full, "idCard": "119999194912310136"}}
    fails = {"checkType": 0, "personalUser": {**full, "idCard": "119999194912310304"}}
    stack.publish({"requestId": "c-match", "personalSpec": spec})
    stack.publish({"requestId": "c-conflict", "personalSpec": spec})
    stack.publish({"requestId": "c-rejected", "personalSpec": wrong})
    stack.publish({"requestId": "c-echo", "personalSpec": echoes})
    stack.publish({"requestId": "c-doubt", "personalSpec": fails})
    stack.publish({"requestId": "c-unknown", "personalSpec": spec, CANARIES["id"]: 1})
    stack.publish({"requestId": CANARIES["id"], "personalSpec": spec}, reply_to="x")
    stack.publish({"requestId": "c-context", "personalSpec": spec, "context": full})
    stack.publish({"requestId": "c-reply", "personalSpec": spec}, reply_to=CANARIES["mobile"])
    until(lambda: stack.count() >= 7)
    stack.publish({"requestId": "c-conflict", "personalSpec": echoes})
    until(lambda: stack.depth("collector") >= 10)
    until(lambda: stack.depth(DEAD) == 2)
    assert worker.stop() == 0

    dumped = subprocess.run(
        ["pg_dump", "--data-only", stack.database_url], capture_output=True, text=True, check=True
    )
    events = "\n".join(
        f"{method} {properties} {body.decode()}" for method, properties, body in stack.take()
    )
    headers = "\n".join(str(properties.headers) for _, properties, _ in stack.take(DEAD))
    places = {
        "log": "\n".join(worker.lines),
        "database": dumped.stdout,
        "events": events,
        "dead-letter headers": headers,
    }
    hidden = [*CANARIES.values(), "119999194912310136", "119999194912310304"]
    assert all(len(text) > 100 for text in places.values())
    found = [(place, value) for place, text in places.items() for value in hidden if value in text]
    assert found == []


def test_errors_of_use_are_one_line(stack: Stack) -> None:
    stack.environment["AMQP_URL"] = "amqp://127.0.0.1:1/"
    done = stack.command("topology", "check")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Traceback" not in done.stderr


def test_a_sandbox_stops_with_exit_code_0() -> None:
    process = Process.start(["sandbox", "--port", "0"], {})
    until(lambda: process.said("listening on"))
    assert process.stop() == 0
