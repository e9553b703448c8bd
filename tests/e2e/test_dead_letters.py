"""Dead letters seen, replayed and dropped by a person, on a real broker and database."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pika

from tests.e2e.harness import DEAD, REQUESTS, Stack, request, until
from tests.e2e.letters import UNREADABLE, bodies, listed, put, reject_by_broker
from tests.integration.amqp.harness import UNDECODABLE, undecodable_headers
from worker.amqp.dead_letter_queue import DeadLetterQueue

ALWAYS_FAILS = "119999194912310224"
NAME = "欧阳测试"


def test_what_could_not_be_processed_is_listed_with_its_reason(stack: Stack) -> None:
    stack.publish(request("rejected-by-broker"))
    reject_by_broker(stack)
    worker = stack.start_worker()
    stack.publish(UNREADABLE, message_id="m-1")
    stack.publish(request("failing", ALWAYS_FAILS, source="web"))
    until(lambda: stack.depth(DEAD) == 3)
    assert worker.stop() == 0
    rows = {row["reason"]: row for row in listed(stack)}
    unreadable, failing, rejected = (
        rows[reason] for reason in ("not_json", "provider_unavailable", "rejected")
    )
    assert (unreadable["request_id"], unreadable["message_id"]) == (None, "m-1")
    assert (failing["request_id"], failing["source"]) == ("failing", "web")
    assert (unreadable["attempts"], failing["attempts"]) == (0, 4)
    assert failing["last_error"] == "unavailable"
    assert 0 < failing["age"] < 600
    assert rejected["request_id"] == "rejected-by-broker"
    assert rejected["first_seen"] is not None


def test_looking_leaves_the_queue_as_it_was(stack: Stack) -> None:
    sent = [json.dumps(request(f"onb-{number}")).encode() for number in range(100)]
    for body in sent:
        put(stack, body)
    for _ in range(5):
        assert len(listed(stack, "--limit", "7")) == 7
    stack.command("dead-letters", "show", "onb-50", code=0)
    stack.command("dead-letters", "replay", "--dry-run", code=0)
    until(lambda: stack.depth(DEAD) == 100)
    assert bodies(stack) == sent


def test_a_message_survives_more_looks_than_the_default_limit_of_returns(stack: Stack) -> None:
    put(stack, request("often"))
    with DeadLetterQueue.opened(stack.amqp_url) as queue:
        for _ in range(25):  # the default of 4.x is 20
            with queue.hold() as held:
                assert next(held.letters()).headers["attempts"] == 4
    assert len(listed(stack)) == 1


def test_a_mistake_is_one_line_and_changes_nothing(stack: Stack) -> None:
    put(stack, request("stays"))
    for arguments, words in (
        ("list --reason nonsense", "--reason: must be one of "),
        ("list --since yesterday", "--since: must be a time such as "),
        ("replay", "give --yes to replay"),
        ("drop", "give --yes to drop"),
    ):
        done = stack.command("dead-letters", *arguments.split(), code=2)
        assert done.stdout == ""
        assert words in done.stderr.splitlines()[-1]
    assert len(listed(stack)) == 1


def test_a_replay_announces_what_is_finished_and_calls_nobody(stack: Stack) -> None:
    worker = stack.start_worker()
    stack.publish(request("failing", ALWAYS_FAILS), correlation_id="c-1", reply_to="to.me")
    stack.publish(UNREADABLE)
    until(lambda: stack.depth(DEAD) == 2)
    assert worker.stop() == 0
    stack.events()
    calls = stack.provider.charges()["calls"]
    done = stack.command("dead-letters", "replay", "--yes", code=0)
    assert "1 of them finished: the event is repeated, no call is made" in done.stderr
    assert "1 of them unreadable: dead-lettered again" in done.stderr
    assert (stack.depth(DEAD), stack.depth(REQUESTS)) == (0, 2)
    worker = stack.start_worker()
    until(lambda: stack.depth(DEAD) == 1)
    until(lambda: stack.depth("collector") == 2)
    events = {method.routing_key: (found, body) for method, found, body in stack.take()}
    assert events.keys() == {"to.me", "default.rejected"}
    properties, body = events["to.me"]
    assert properties.correlation_id == "c-1"
    assert json.loads(body)["outcome"] == "failed"
    assert stack.provider.charges()["calls"] == calls
    assert worker.stop() == 0
    assert [row["reason"] for row in listed(stack)] == ["not_json"]


def test_a_replayed_message_is_the_publishers_own(stack: Stack) -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    body = json.dumps(request("onb-1")).encode()
    ids = {"message_id": "m-1", "correlation_id": "c-1", "reply_to": "to.me"}
    put(stack, body, {"traceparent": trace, "x-note": 1, "CC": ["elsewhere"]}, **ids)
    stack.command("dead-letters", "replay", "--yes", code=0)
    ((_, properties, replayed),) = stack.take(REQUESTS)
    assert replayed == body
    properties.headers.pop("x-delivery-count", None)  # the broker's own
    assert properties.headers == {"traceparent": trace}
    assert (properties.message_id, properties.correlation_id) == ("m-1", "c-1")
    assert (properties.reply_to, properties.delivery_mode) == ("to.me", 2)


def test_a_letter_says_who_published_it_and_how_after_a_replay_too(stack: Stack) -> None:
    user = urlsplit(stack.amqp_url).username or "guest"
    properties = pika.BasicProperties(
        message_id="m-1", app_id="crm", user_id=user, content_encoding="zstd", delivery_mode=2
    )
    stack.channel.basic_publish(REQUESTS, "team.web", b"\x28\xb5\x2f\xfd", properties)
    reject_by_broker(stack)
    facts = {"app_id": "crm", "user_id": user, "routing_key": "team.web"}

    def shown_and_replayed() -> None:
        until(lambda: stack.depth(DEAD) == 1)
        (letter,) = stack.document("dead-letters", "show", "m-1")
        assert letter.items() >= facts.items()
        stack.command("dead-letters", "replay", "--yes", code=0)

    shown_and_replayed()  # the broker's own letter
    worker = stack.start_worker()
    shown_and_replayed()  # the worker's, of a message that had been replayed
    until(lambda: stack.depth("collector") == 2)
    assert {properties.correlation_id for _, properties, _ in stack.take()} == {"m-1"}
    assert worker.stop() == 0


def test_a_replay_beside_running_workers_ends_though_letters_come_back(stack: Stack) -> None:
    stack.start_worker()
    for number in range(20):
        put(stack, UNREADABLE + b"%d" % number, {"reason": "not_json"})
    assert stack.document("dead-letters", "replay", "--yes") == {"replayed": 20, "of": 20}
    until(lambda: stack.depth(DEAD) == 20)


def test_drop_takes_what_is_meant_and_leaves_the_rest(stack: Stack) -> None:
    for number in range(6):
        put(stack, request(f"onb-{number}", source="web" if number % 2 else "app"))
    dry = stack.document("dead-letters", "drop", "--source", "web", "--dry-run")
    assert [row["request_id"] for row in dry] == ["onb-1", "onb-3", "onb-5"]
    stack.command("dead-letters", "drop", "--source", "web", "--limit", "2", "--yes", code=0)
    assert [row["request_id"] for row in listed(stack)] == ["onb-0", "onb-2", "onb-4", "onb-5"]


def test_the_same_message_twice_is_two_letters(stack: Stack) -> None:
    for _ in range(2):
        put(stack, request("twin"))
    dropped = stack.document("dead-letters", "drop", "--limit", "1", "--yes")
    assert dropped == {"dropped": 1, "of": 1}
    assert len(listed(stack)) == 1


def test_two_tools_do_not_share_the_letters_between_them(stack: Stack) -> None:
    put(stack, request("held"))
    stack.channel.connection.channel().basic_consume(DEAD, lambda *_: None)
    assert "another tool holds the dead letters" in stack.refused("dead-letters", "list")


def test_a_header_that_cannot_be_decoded_costs_nothing_else(stack: Stack) -> None:
    with undecodable_headers():
        odd = {"when": UNDECODABLE, "reason": "in_doubt"}
        put(stack, request("odd"), odd, message_id="m-1", reply_to="to.me", correlation_id="c-1")
    put(stack, request("plain"))
    assert [row["request_id"] for row in listed(stack)] == ["odd", "plain"]
    (shown,) = stack.document("dead-letters", "show", "odd")
    # The header and the broker's own count of deliveries.
    assert (shown["reason"], shown["other_headers"]) == ("in_doubt", 2)
    assert (shown["message_id"], shown["reply_to"]) == ("m-1", "to.me")
    stack.command("dead-letters", "replay", "--yes", code=0)
    replayed = [properties for _, properties, _ in stack.take(REQUESTS)]
    assert {(each.reply_to, each.correlation_id) for each in replayed} == {
        ("to.me", "c-1"),
        (None, None),
    }


def test_without_its_queue_the_advice_is_to_provision(stack: Stack) -> None:
    stack.channel.queue_delete(DEAD)
    assert "topology apply" in stack.refused("dead-letters", "list")


def test_properties_that_are_no_text_are_replayed_as_they_can_be(stack: Stack) -> None:
    properties = pika.BasicProperties(message_id="m\x00", delivery_mode=2)
    stack.channel.basic_publish("", DEAD, b"{}", properties)
    assert listed(stack)[0]["message_id"] == "(withheld)"
    stack.command("dead-letters", "replay", "--yes", code=0)
    assert stack.depth(REQUESTS) == 1
