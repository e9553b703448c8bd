"""What people look at: the status, once or again and again, and events as they come."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.e2e.harness import DEAD, ID_CARD, REQUESTS, RESULTS, Process, Stack, request, until

FAILS = "119999194912310152"


def test_it_shows_a_fleet_at_work_and_no_personal_data(stack: Stack) -> None:
    stack.environment["DAILY_CALL_BUDGET"] = "100"
    worker = stack.start_worker()
    stack.publish_many(request(f"s-{each}", name="欧阳测试者") for each in range(20))
    stack.publish(request("refused", FAILS))
    stack.publish(b"no request")
    until(lambda: stack.count() == 21)
    until(lambda: stack.depth(DEAD) == 1)
    until(lambda: not stack.unsent())
    until(lambda: stack.as_owner("SELECT FROM verification.worker WHERE state = 'working'"))
    said = stack.document("status")
    depths = {each["queue"]: (each["ready"], each["consumers"]) for each in said["queues"]}
    assert depths[REQUESTS] == (0, 1)
    assert depths[DEAD] == (1, 0)
    assert list(depths)[1:4] == [f"verification.retry.{delay}s" for delay in (1, 2, 3)]
    assert said["fleet"] == {"paused": False}
    assert said["schema"]["is_head"]
    assert said["outcomes_last_hour"] == {"match": 20, "failed": 1}
    assert [each["charged"] for each in said["calls_last_hour"]] == [20, 0]
    assert said["budget"]["daily_call_budget"] == 100
    assert said["budget"]["today"][0]["calls"] == said["budget"]["today"][0]["promised"] == 21
    (seen,) = said["workers"]
    assert seen["name"] in worker.lines[0]
    assert (seen["state"], seen["reason"], seen["returned"]) == ("working", None, 0)
    assert said["locks"] is None
    assert said["unsent_events"] == {"events": 0, "oldest": None}
    assert said["problems"] == {}

    stack.command("pause", "--reason", "a look")
    shown = stack.command("status").stdout

    def worker_is_parked() -> bool:
        return "parked: paused (a look)" in " ".join(stack.command("status").stdout.split())

    until(worker_is_parked)
    for words in ("PAUSED for", ": a look", "20 match, 1 failed", "21 of 100 spent (21 %)"):
        assert words in shown
    for output in (shown, str(said)):
        assert not [each for each in (ID_CARD, FAILS, "欧阳测试者") if each in output]
    assert "\x1b" not in shown


def test_what_is_left_open_and_unsent_is_told_with_its_age(stack: Stack) -> None:
    stack.publish(request("hangs", "119999194912310275"))
    stack.publish(request("done"))
    worker = stack.start_worker()
    until(lambda: stack.count() == 1)
    until(lambda: stack.provider.charges()["calls"] == 2)
    worker.kill()
    stack.pass_minutes(10)
    stack.as_owner("UPDATE verification.request SET event_sent_at = NULL")
    shown = stack.command("status").stdout
    assert "0 working, 0 waiting, 1 with a lapsed lease; the oldest from" in shown
    assert "(10m" in shown  # and seconds, if there are any
    assert "under_way" in shown


def test_a_worker_that_probes_says_why_and_one_that_stops_takes_its_row_away(stack: Stack) -> None:
    stack.publish(request("no-key"))
    worker = stack.start_worker(PROVIDER_SECRET_KEY="another", PROBE_SECONDS="120")
    until(lambda: stack.as_owner("SELECT FROM verification.worker WHERE state = 'parked'"))
    shown = " ".join(stack.command("status").stdout.split())
    assert "parked: credentials (HTTP 401 " in shown
    assert worker.stop() == 0
    assert stack.as_owner("SELECT FROM verification.worker") == 0


def test_a_locked_table_hides_no_other_part_and_who_locks_it_is_named(stack: Stack) -> None:
    worker = stack.start_worker()
    with psycopg.connect(stack.database_url, application_name="an-analyst") as locker:
        pid = locker.info.backend_pid
        locker.execute("LOCK verification.request")
        stack.publish(request("waits"))
        line = json.loads(until(lambda: worker.said("database.blocked")))
        said = stack.document("status", code=1)
        refused = stack.refused("outbox", "list")
    assert f"held up by pid {pid}, application an-analyst" in refused
    assert f"held up by pid {pid}, application an-analyst, since" in line["reason"]
    assert (said["locks"]["pid"], said["locks"]["application"]) == (pid, "an-analyst")
    assert said["problems"]["open_requests"].startswith("a lock is held by another session")
    assert {"fleet", "schema", "budget", "calls_last_hour"} <= said.keys()
    until(lambda: stack.count() == 1)


@pytest.mark.usefixtures("own_database_url")
def test_a_part_that_cannot_be_reached_is_a_line_and_the_others_are_shown(stack: Stack) -> None:
    amqp_url, database_url = stack.amqp_url, stack.database_url
    stack.environment["AMQP_URL"] = "amqp://127.0.0.1:1/"
    done = stack.command("status", code=1)
    assert "the broker does not answer" in done.stdout
    assert "open requests" in done.stdout

    stack.environment |= {"AMQP_URL": amqp_url, "DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    said = stack.document("status", code=1)
    assert said["problems"] == {
        "database": "the database does not answer (no connection (connection refused))"
    }
    assert len(said["queues"]) == 10

    stack.environment["DATABASE_URL"] = database_url
    stack.channel.queue_delete(DEAD)
    stack.as_owner("DROP TABLE verification.fleet_control")
    stack.as_owner("UPDATE verification.alembic_version SET version_num = '0004'")
    done = stack.command("status", code=1)
    assert f"{DEAD}" in done.stdout
    assert "is missing: run verification-worker topology apply" in done.stdout
    assert "the schema is not there: run `alembic upgrade head`" in done.stdout
    assert "0004, but this program has 0" in done.stdout
    assert "unsent events" in done.stdout
    assert "Traceback" not in done.stderr


def test_without_settings_it_says_which(stack: Stack) -> None:
    for name in ("AMQP_URL", "DATABASE_URL"):
        assert name not in os.environ, "this test unsets it"
        del stack.environment[name]
    done = stack.command("status")
    assert (done.returncode, done.stderr.count("is required")) == (2, 2)


MISMATCH = "119999194912310013"


@contextmanager
def followed(stack: Stack, *arguments: str) -> Iterator[Process]:
    """Run a command that goes on, and end it by Ctrl-C."""
    running = Process.start([*arguments], stack.environment)
    try:
        yield running
        running.popen.send_signal(signal.SIGINT)
        assert running.ended() == 0, running.lines
    finally:
        running.kill()


def printed(tail: Process) -> list[str]:
    """Return what it said after it had begun to listen."""
    first, *others = tail.lines
    assert "listening" in first
    return others


def test_a_tail_prints_the_events_that_are_meant_and_nobody_misses_one(working: Stack) -> None:
    with followed(working, "tail", "--outcome", "mismatch", "--json") as tail:
        until(lambda: tail.said("listening"))
        working.channel.basic_publish(RESULTS, "default.mismatch", b"no event of ours")
        working.publish(request("hit"), reply_to="somebody")
        working.publish(request("miss", MISMATCH, context={"applicant": 42}), reply_to="somebody")
        until(lambda: tail.said("requestId"))
        until(lambda: working.depth("collector") == 3)
    (event,) = map(json.loads, printed(tail))
    assert (event["requestId"], event["context"]) == ("miss", {"applicant": 42})
    bodies = [body for _, _, body in working.take()]
    collected = {json.loads(body)["requestId"] for body in bodies if body.startswith(b"{")}
    assert collected == {"hit", "miss"}


def test_a_tail_for_people_has_a_line_for_each_event(working: Stack) -> None:
    with followed(working, "tail", "--source", "desk") as tail:
        until(lambda: tail.said("listening"))
        working.channel.basic_publish(RESULTS, "desk.match", b'{"eventId": "1", "source": "desk"}')
        working.publish(request("elsewhere"))
        working.publish(request("rejected", "1", source="desk"))
        until(lambda: tail.said("invalid_request"))
    (line,) = printed(tail)
    assert line.split()[1:] == "rejected charged no desk rejected invalid_request".split()
    assert ID_CARD not in line


def test_the_status_is_looked_at_again_and_again(working: Stack) -> None:
    with followed(working, "status", "--watch", "--every", "0.1") as status:
        until(lambda: sum("not paused" in line for line in status.lines) > 1)
        working.command("pause", "--reason", "a look")
        until(lambda: status.said("PAUSED"))
    assert not status.said("\x1b")
