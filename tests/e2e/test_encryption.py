"""Encrypted requests from end to end: answered like raw ones, and never raw with the broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import DEAD, ID_CARD, REQUESTS, Stack, request, until
from tests.e2e.letters import listed
from tests.fakes.keys import as_setting, encrypted, message_key, message_keys

MISMATCH, REFUSED, ALWAYS_FAILS = "119999194912310013", "119999194912310152", "119999194912310224"
NAME = "欧阳测试者"
FIRST_DELAY = "verification.retry.1s"


def sealed(message: dict[str, Any], kid: str = "now") -> bytes:
    """Return a message as a publisher encrypts it."""
    return encrypted(json.dumps(message, ensure_ascii=False).encode(), message_key(kid=kid))


def publish(stack: Stack, message: dict[str, Any], **properties: Any) -> bytes:
    """Publish a message encrypted, and return its body."""
    body = sealed(message)
    stack.publish(body, content_type="application/jose", **properties)
    return body


def looked_at(stack: Stack, queue: str) -> tuple[Any, bytes]:
    """Return the properties and body of the first message of a queue, which stays there."""
    method, properties, body = until(lambda: _got(stack, queue))
    stack.channel.basic_nack(method.delivery_tag)
    until(lambda: stack.depth(queue))  # who looks now finds it there again
    return properties, body


def _got(stack: Stack, queue: str) -> Any:
    found = stack.channel.basic_get(queue)
    return found if found[0] is not None else None


@pytest.fixture
def keyed(stack: Stack) -> Stack:
    """Give a stack whose workers and tools have a key."""
    stack.environment["MESSAGE_KEYS"] = as_setting()
    return stack


def test_retries_and_dead_letters_stay_encrypted_and_tools_that_have_the_key_read_them(
    keyed: Stack,
) -> None:
    worker = keyed.start_worker()
    waiting: list[Any] = []
    # Consumed: it stands there for a second only.
    keyed.channel.basic_consume(FIRST_DELAY, lambda _, *found: waiting.append(found))
    body = publish(keyed, request("failing", ALWAYS_FAILS, source="web"), message_id="m-1")
    until(lambda: keyed.channel.connection.process_data_events(0) or waiting)
    ((method, properties, delayed),) = waiting
    assert (delayed, properties.content_type) == (body, "application/jose")
    keyed.channel.basic_cancel(method.consumer_tag)
    keyed.channel.basic_nack(method.delivery_tag)
    until(lambda: keyed.depth(DEAD) == 1)
    assert worker.stop() == 0
    properties, dead = looked_at(keyed, DEAD)
    assert (dead, properties.content_type) == (body, "application/jose")
    assert properties.headers["reason"] == "provider_unavailable"

    (row,) = listed(keyed)
    assert (row["request_id"], row["source"], row["encrypted"]) == ("failing", "web", "opened")
    (letter,) = keyed.document("dead-letters", "show", "failing")
    assert letter["body"]["personalSpec"]["personalUser"]["idCard"] == "1****************4"
    dry = keyed.command("dead-letters", "replay", "--dry-run")
    assert "1 of them finished" in dry.stderr
    del keyed.environment["MESSAGE_KEYS"]
    (row,) = listed(keyed)
    assert (row["request_id"], row["message_id"]) == (None, "m-1")
    assert (row["reason"], row["encrypted"]) == ("provider_unavailable", "closed")
    (letter,) = keyed.document("dead-letters", "show", "m-1")
    assert letter["body"].startswith("<encrypted, ")
    dry = keyed.command("dead-letters", "replay", "--dry-run")
    assert "1 of them not to be opened here" in dry.stderr


def test_what_no_worker_can_open_is_kept_and_replayed_when_the_key_is_there(stack: Stack) -> None:
    worker = stack.start_worker()
    body = publish(stack, request("onb-1"), correlation_id="c-1")
    until(lambda: stack.depth(DEAD) == 1)
    assert worker.stop() == 0
    (event,) = stack.events()
    assert (event["outcome"], event["error"]["kind"]) == ("rejected", "unreadable")
    assert "MESSAGE_KEYS" in event["error"]["fields"][0]["problem"]
    (row,) = listed(stack, "--reason", "undecryptable")
    assert row["encrypted"] == "closed"
    assert looked_at(stack, DEAD)[1] == body
    # While keys are rotated, the old and the new one open.
    stack.environment["MESSAGE_KEYS"] = as_setting("new", "now")
    done = stack.command("dead-letters", "replay", "--yes", "--json")
    assert json.loads(done.stdout) == {"replayed": 1, "of": 1}
    assert "1 of them not finished: may be called, and charged" in done.stderr
    worker = stack.start_worker()
    assert json.loads(worker.said("worker.starting") or "")["message_keys"] == ["new", "now"]
    for kid in ("new", "retired"):
        stack.publish(sealed(request(kid), kid), message_id=kid)
    until(lambda: stack.count() == 2 and stack.depth(DEAD) == 1)
    assert stack.outcomes() == {"onb-1": "match", "new": "match"}
    (row,) = listed(stack)
    assert (row["message_id"], row["reason"]) == ("retired", "undecryptable")
    assert worker.stop() == 0


def test_where_encryption_is_required_raw_requests_are_refused_and_no_dead_letter_is_raw(
    keyed: Stack,
) -> None:
    worker = keyed.start_worker(MESSAGE_ENCRYPTION="required")
    keyed.publish(request("raw"))
    (event,) = until(keyed.events)
    assert (event["outcome"], event["charged"], event["calls"]) == ("rejected", "no", 0)
    (field,) = event["error"]["fields"]
    assert (field["field"], field["problem"][:17]) == ("body", "must be encrypted")
    assert keyed.depth(DEAD) == 0

    raw = json.dumps({**request(""), "requestId": ""}, ensure_ascii=False).encode()
    keyed.publish(raw)
    properties, dead = looked_at(keyed, DEAD)
    assert properties.headers["reason"] == "no_usable_id"
    assert ID_CARD.encode() not in dead
    assert message_keys().open(dead) == raw
    done = keyed.command("dead-letters", "replay", "--yes")
    assert "1 of them unreadable" in done.stderr
    until(lambda: keyed.depth(DEAD) == 1)
    assert looked_at(keyed, DEAD)[1] == dead
    assert worker.stop() == 0


@pytest.mark.parametrize("keys", ["", "no set", '{"keys": [{"kty": "EC", "kid": "s3cret"}]}'])
def test_keys_that_cannot_be_used_end_the_start_with_a_line(stack: Stack, keys: str) -> None:
    stack.environment |= {"MESSAGE_KEYS": keys, "MESSAGE_ENCRYPTION": "required"}
    for command in ("run", "check-config"):
        line = stack.refused(command)
        assert line.startswith("verification-worker: MESSAGE_")
        assert "s3cret" not in line


def write(path: Path, *requests: object) -> str:
    path.write_text("".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in requests))
    return str(path)


def test_one_request_and_a_file_of_many_are_encrypted_and_answered(
    keyed: Stack, tmp_path: Path
) -> None:
    stack = keyed
    public = str(tmp_path / "public.json")
    Path(public).write_text(stack.command("message-keys", "public").stdout)
    for suffix, queue in (("json", REQUESTS), ("jsonl", "verification.requests.bulk")):
        file = write(tmp_path / f"request.{suffix}", request("unread", name=NAME))
        stack.command("submit", file, "--encrypt-to", public, "--timeout", "0", code=0)
        ((_, properties, body),) = stack.take(queue)
        assert properties.content_type == "application/jose"
        assert NAME.encode() not in body
        assert ID_CARD.encode() not in body
        assert json.loads(message_keys().open(body))["requestId"] == "unread"
    worker = stack.start_worker(MESSAGE_ENCRYPTION="required")
    file = write(tmp_path / "one.json", request("onb", name=NAME))
    done = stack.command("submit", file, "--encrypt-to", public, code=0)
    assert json.loads(done.stdout)["outcome"] == "match"
    many = [request(f"onb-{number}", name=NAME) for number in range(20)]
    file = write(tmp_path / "many.jsonl", *many, request("wrong", "110105194912310021"))
    done = stack.command("submit", file, "--encrypt-to", public, "--timeout", "120")
    assert "20 match, 1 lines not sent" in done.stderr.replace("1 line not", "1 lines not")
    assert {*stack.outcomes().values()} == {"match"}
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("no keys", "is not JSON"),
        pytest.param(as_setting(), "must not be a private key", id="a private key"),
    ],
)
def test_without_a_public_key_nothing_is_published(
    stack: Stack, tmp_path: Path, content: str | None, words: str
) -> None:
    file = write(tmp_path / "one.json", request("onb-1"))
    keys = tmp_path / "keys.json"
    if content is not None:
        keys.write_text(content)
    line = stack.refused("submit", file, "--encrypt-to", str(keys))
    assert line.startswith("verification-worker: --encrypt-to: ")
    assert words in line
    assert stack.depth(REQUESTS) == 0
