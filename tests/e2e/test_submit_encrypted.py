"""`submit --encrypt-to`: one request and many leave encrypted, and come back answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.harness import ID_CARD, REQUESTS, Stack, request
from tests.fakes.keys import as_setting, message_keys

NAME = "欧阳测试者"


def write(path: Path, *requests: object) -> str:
    path.write_text("".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in requests))
    return str(path)


def test_one_request_and_a_file_of_many_are_encrypted_and_answered(
    stack: Stack, tmp_path: Path
) -> None:
    stack.environment["MESSAGE_KEYS"] = as_setting()
    public = str(tmp_path / "public.json")
    Path(public).write_text(stack.command("message-keys", "public").stdout)
    for suffix in ("json", "jsonl"):
        file = write(tmp_path / f"request.{suffix}", request("unread", name=NAME))
        done = stack.command("submit", file, "--encrypt-to", public, "--timeout", "0")
        assert done.returncode == 0, done.stderr
        ((_, properties, body),) = stack.take(REQUESTS)
        assert properties.content_type == "application/jose"
        assert NAME.encode() not in body
        assert ID_CARD.encode() not in body
        assert json.loads(message_keys().open(body))["requestId"] == "unread"
    worker = stack.start_worker(MESSAGE_ENCRYPTION="required")
    file = write(tmp_path / "one.json", request("onb", name=NAME))
    done = stack.command("submit", file, "--encrypt-to", public)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "match"
    many = [request(f"onb-{number}", name=NAME) for number in range(20)]
    file = write(tmp_path / "many.jsonl", *many, request("wrong", "110105194912310021"))
    done = stack.command("submit", file, "--encrypt-to", public, "--timeout", "120")
    assert "20 match, 1 lines not sent" in done.stderr.replace("1 line not", "1 lines not")
    assert {row["outcome"] for row in stack.results().values()} == {"match"}
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("no keys", "is not JSON"),
        (as_setting(), "must not be a private key"),
    ],
)
def test_without_a_public_key_nothing_is_published(
    stack: Stack, tmp_path: Path, content: str | None, words: str
) -> None:
    file = write(tmp_path / "one.json", request("onb-1"))
    keys = tmp_path / "keys.json"
    if content is not None:
        keys.write_text(content)
    done = stack.command("submit", file, "--encrypt-to", str(keys))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("verification-worker: --encrypt-to: ")
    assert words in line
    assert stack.depth(REQUESTS) == 0
