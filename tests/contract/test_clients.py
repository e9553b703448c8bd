"""The guide's clients, as they are printed there, against a real broker and a real worker."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pika.exceptions import ChannelClosedByBroker

from local_process import tied
from local_programs import program
from tests.e2e.harness import RESULTS, Stack, until
from worker.contract.golden import FOLDER

CLIENTS, REQUESTS = FOLDER / "clients", FOLDER / "requests"
PROBE = "probe"
LANGUAGES = {"py": sys.executable, "sh": "sh", "js": "node"}
QUEUES = {"py": "onboarding-web.results", "js": "onboarding-web.results-of-node"}


class Team:
    """A team that publishes and consumes with the example clients of one language."""

    def __init__(self, language: str, stack: Stack, folder: Path, node_path: str) -> None:
        self.language = language
        self.stack = stack
        self.output = folder / "output"
        self._folder = folder
        self._environment = {
            **os.environ,
            "AMQP_URL": stack.amqp_url,
            "NODE_PATH": node_path,
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def publish(self, name: str, *keys: Path) -> subprocess.CompletedProcess[str]:
        """Publish an example to its end, encrypted if there is a file of public keys."""
        command = self._command("publish_encrypted" if keys else "publish")
        return subprocess.run(
            [*command, str(REQUESTS / f"{name}.json"), *map(str, keys)],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def consuming(self, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """Let the consumer run meanwhile."""
        with self.output.open("ab") as output:
            process = subprocess.Popen(
                tied(self._command("consume")),
                env={**self._environment, **environment},
                cwd=self._folder,
                stdout=output,
                stderr=subprocess.DEVNULL,
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)

    def lines(self) -> list[str]:
        """Return what the consumer has said of requests."""
        return [line for line in self.output.read_text().splitlines() if line != PROBE]

    def is_there(self) -> bool:
        """Whether an event of ours would reach the consumer."""
        if self.language == "sh":  # nobody else sees its exclusive queue; it prints what it gets
            self.stack.channel.basic_publish(RESULTS, "onboarding-web.probe", PROBE.encode())
            return PROBE in self.output.read_text()
        queue = QUEUES[self.language]
        channel = self.stack.channel.connection.channel()
        try:
            return int(channel.queue_declare(queue, passive=True).method.consumer_count) == 1
        except ChannelClosedByBroker:  # it is not declared yet
            return False

    def _command(self, verb: str) -> list[str]:
        interpreter = program("node") if self.language == "js" else LANGUAGES[self.language]
        return [interpreter, str(CLIENTS / f"{verb}.{self.language}")]


@pytest.fixture
def team(language: str, stack: Stack, tmp_path: Path, node_environment: dict[str, str]) -> Team:
    return Team(language, stack, tmp_path, node_environment["NODE_PATH"])


@pytest.fixture
def served(
    language: str, working: Stack, tmp_path: Path, node_environment: dict[str, str]
) -> Iterator[Team]:
    """Give a team that a worker serves; its queue is gone afterwards."""
    yield Team(language, working, tmp_path, node_environment["NODE_PATH"])
    if language in QUEUES:
        working.channel.queue_delete(QUEUES[language])


every_language = pytest.mark.parametrize("language", LANGUAGES)
those_that_keep_a_queue = pytest.mark.parametrize("language", QUEUES)


@every_language
def test_the_clients_publish_requests_and_take_their_results(served: Team) -> None:
    with served.consuming():
        until(served.is_there)
        for name in ("match", "mismatch", "rejected", "conflict"):
            done = served.publish(name)
            assert done.returncode == 0, done.stderr
            until(lambda name=name: name in served.output.read_text())  # type: ignore[misc]
    assert len(served.lines()) == 4


@those_that_keep_a_queue
def test_a_repeated_event_is_acted_on_once(served: Team) -> None:
    with served.consuming():
        until(served.is_there)
        for name in ("match", "match", "mismatch"):
            assert served.publish(name).returncode == 0
            until(lambda name=name: name in served.output.read_text())  # type: ignore[misc]
    assert len(served.lines()) == 2


@those_that_keep_a_queue
def test_a_sandbox_result_is_not_taken_by_a_live_system(served: Team) -> None:
    with served.consuming(VERIFICATION_MODE="live") as consumer:
        until(served.is_there)
        assert served.publish("match").returncode == 0
        assert consumer.wait(60) != 0
    assert served.lines() == []
    until(lambda: served.stack.depth(QUEUES[served.language]) == 1)


@every_language
def test_a_published_request_is_persistent_and_names_its_request(team: Team) -> None:
    assert team.publish("match").returncode == 0
    until(lambda: team.stack.depth("verification.requests"))  # amqp-publish awaits no confirm
    ((_, properties, body),) = team.stack.take("verification.requests")
    assert body == (REQUESTS / "match.json").read_bytes()
    assert properties.delivery_mode == 2
    assert properties.content_type == "application/json"
    if team.language != "sh":  # amqp-publish cannot
        assert properties.message_id == properties.correlation_id == "example-match"
    # Without a queue for requests the publisher says so; of amqp-publish the guide says that it
    # learns nothing of it.
    team.stack.channel.queue_delete("verification.requests")
    assert (team.publish("match").returncode == 0) is (team.language == "sh")


@those_that_keep_a_queue
def test_an_encrypted_request_is_answered_and_nobody_between_can_read_it(
    team: Team, tmp_path: Path
) -> None:
    stack, public = team.stack, tmp_path / "keys.json"
    private: list[Any] = []
    for kind in ("EC", "OKP", "RSA"):
        made = stack.command("message-keys", "generate", "--type", kind, "--kid", kind).stdout
        private += json.loads(made)["keys"]
        stack.environment["MESSAGE_KEYS"] = made
        public.write_text(stack.command("message-keys", "public").stdout)
        done = team.publish("match", public)
        assert done.returncode == 0, done.stderr
    found = [stack.channel.basic_get("verification.requests") for _ in range(3)]
    for method, properties, body in found:
        assert properties.content_type == "application/jose"
        assert properties.message_id == properties.correlation_id == "example-match"
        assert b"{" not in body
        stack.channel.basic_nack(method.delivery_tag)
    stack.environment["MESSAGE_KEYS"] = json.dumps({"keys": private})
    worker = stack.start_worker(MESSAGE_ENCRYPTION="required")
    until(lambda: stack.depth("collector") == 3)
    answers = {(event["requestId"], event["outcome"]) for event in stack.events()}
    assert answers == {("example-match", "match")}
    assert worker.stop() == 0
