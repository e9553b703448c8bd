"""What happened to one request, wherever it stands (`explain`), and which there were."""

from __future__ import annotations

from typing import Any

from tests.e2e.harness import DEAD, ID_CARD, Stack, request, until
from tests.e2e.letters import UNREADABLE, put

FAILS_ONCE, ALWAYS_FAILS, HANGS = "119999194912310363", "119999194912310224", "119999194912310283"


def explain(stack: Stack, request_id: str) -> dict[str, Any]:
    history: dict[str, Any] = stack.document("explain", request_id)
    return history


def events(history: dict[str, Any]) -> list[str]:
    return [moment["event"] for moment in history["timeline"]]


def test_a_finished_request_tells_its_call_its_charge_and_its_event(working: Stack) -> None:
    working.have_answered(request("finished", source="web"))
    history = explain(working, "finished")
    assert history["verdict"] == "finished: match, charged once; event sent"
    assert events(history)[:3] == ["first claimed", "call 1 started", "call 1 finished"]
    assert {"outcome saved", "event sent"} < set(events(history))
    assert (history["calls"][0]["http_status"], history["calls"][0]["charged"]) == (200, "yes")
    times = [moment["at"] for moment in history["timeline"]]
    assert times == sorted(times)


def test_without_the_broker_the_tables_still_speak(working: Stack) -> None:
    working.have_answered(request("no-broker"))
    working.environment["AMQP_URL"] = "amqp://guest:guest@127.0.0.1:1/nowhere"
    done = working.command("explain", "no-broker", code=0)
    assert done.stdout.splitlines()[-1] == "finished: match, charged once; event sent"
    assert "the dead letters and unrouted events were not looked at" in done.stderr
    assert working.command("explain", "no-broker", "--no-dead-letters").stderr == ""


def test_an_event_that_nobody_was_bound_for_is_not_called_sent_without_a_word(
    working: Stack,
) -> None:
    """Neither is that of another request there, nor the answer to a conflict, its event."""
    working.channel.queue_unbind("collector", "verification.results", "#")
    working.channel.queue_bind("collector", "verification.results", "bound.#")
    working.publish(request("bound"), reply_to="bound.here")
    working.publish(request("unbound"), reply_to="nobody")
    until(lambda: working.is_sent("bound", "unbound"))
    working.publish(request("bound", name="李四"), reply_to="nobody")
    until(lambda: working.depth("verification.unrouted") == 2)
    assert explain(working, "bound")["verdict"] == "finished: match, charged once; event sent"
    unbound = explain(working, "unbound")
    assert unbound["unrouted_events"] == 1
    assert unbound["verdict"] == (
        "finished: match, charged once; event sent, but nobody was bound for it: it stands in"
        " verification.unrouted (`unrouted replay`)"
    )
    working.channel.queue_bind("collector", "verification.results", "#")
    dropped = working.command("unrouted", "drop", "--request-id", "bound", "--yes")
    assert (dropped.returncode, working.left_in("verification.unrouted")) == (0, 1)
    working.command("unrouted", "replay", "--yes", code=0)
    until(lambda: working.depth("verification.unrouted") == 0)
    assert explain(working, "unbound")["verdict"].endswith("; event sent")


def test_a_retried_request_tells_its_wait(working: Stack) -> None:
    working.publish(request("retried", FAILS_ONCE))
    until(lambda: working.results().get("retried"))
    history = explain(working, "retried")
    assert [call["class"] for call in history["calls"]] == ["unavailable", "answered"]
    waited = next(each for each in history["timeline"] if each["event"] == "waited")
    assert waited["details"].endswith("for call 2 by verification.retry.1s")
    assert history["verdict"].startswith("finished: match, charged once, charge unknown once; ")


def test_a_request_that_failed_is_found_among_the_dead_letters(working: Stack) -> None:
    working.publish(request("failed", ALWAYS_FAILS))
    until(lambda: working.depth(DEAD) == 1 and working.is_sent("failed"))
    history = explain(working, "failed")
    assert history["verdict"] == (
        "finished: failed (provider_unavailable), charge unknown 4 times; event sent; it stands in"
        " the dead-letter queue (provider_unavailable)"
    )
    assert history["dead_letters"] == ["provider_unavailable"]
    assert working.left_in(DEAD) == 1


def test_an_unknown_id_is_one_line_and_exit_code_1(working: Stack) -> None:
    done = working.command("explain", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "verification-worker: no worker has claimed a request with this id\n"
    put(working, UNREADABLE, message_id="m-1")
    done = working.command("explain", "m-1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "a dead letter has it" in done.stderr


def test_a_waiting_request_names_the_queue_that_it_returns_from(stack: Stack) -> None:
    stack.environment["RETRY_DELAYS"] = "10m"
    stack.command("topology", "apply", code=0)
    stack.start_worker()
    stack.publish(request("onb-1", ALWAYS_FAILS))
    until(lambda: stack.depth("verification.retry.10m") == 1)
    verdict = explain(stack, "onb-1")["verdict"]
    assert verdict.startswith(
        "waiting: next attempt when the message returns from verification.retry.10m, about 20"
    )


def test_a_request_under_way_names_its_holder_and_afterwards_its_doubt(stack: Stack) -> None:
    worker = stack.start_worker()
    stack.publish(request("onb-1", HANGS))
    until(lambda: stack.count("calls") == 1)
    verdict = explain(stack, "onb-1")["verdict"]
    assert verdict.startswith("working: held by worker ")
    assert verdict.endswith("(lease); call 1 is under way")
    worker.kill()
    stack.as_owner("UPDATE verification.request SET lease_until = now() - interval '1 min'")
    history = explain(stack, "onb-1")
    assert history["verdict"].startswith("in doubt: worker ")
    assert "lease lapsed" in events(history)


MISMATCH = "119999194912310013"


def test_requests_are_listed_by_outcome_kind_source_and_time(stack: Stack) -> None:
    def listed(*options: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = stack.document("requests", "list", *options)
        assert ID_CARD not in str(rows)
        return rows

    def ids(*options: str) -> set[str]:
        return {row["request_id"] for row in listed(*options)}

    stack.start_worker()
    stack.have_answered(request("old"))
    stack.as_owner("UPDATE verification.request SET requested_at = now() - interval '3 days'")
    stack.have_answered(request("match", source="desk"))
    stack.publish(request("mismatch", MISMATCH))
    stack.publish(request("rejected", "1", source="desk"))
    until(lambda: stack.is_sent("mismatch", "rejected"))
    assert ids() == {"match", "mismatch", "rejected"}
    assert ids("--since", "4d") == {"old", "match", "mismatch", "rejected"}
    assert ids("--outcome", "mismatch") == {"mismatch"}
    assert ids("--kind", "invalid_request") == {"rejected"}
    assert ids("--source", "desk", "--since", "1h") == {"match", "rejected"}
    assert ids("--source", "desk", "--outcome", "match") == {"match"}
    assert ids("--source", "nobody") == set()
    (row,) = listed("--outcome", "match")
    assert row["charged"] == "yes"
    assert row["state"] == "done"
    assert (row["calls"], row["error_kind"], row["check_type"]) == (1, None, 2)
    for rowless in (("--outcome", "conflict"), ("--kind", "unreadable")):
        assert "turned_away" in stack.command("requests", "list", *rowless).stderr
    newest = stack.command("requests", "list", "--limit", "1")
    assert "no more than 1 row" in newest.stderr
    assert len(newest.stdout.splitlines()) == 2
