"""The examples are what a real worker publishes, up to ids and times."""

import json
from typing import Any

from jsonschema import Draft202012Validator

from tests.e2e import in_process
from tests.e2e.harness import Stack, until
from worker.contract.golden import NAMES, NO_REQUESTS, example_request, example_result
from worker.contract.schemas import asyncapi

VARYING = ("providerRequestId", "requestedAt", "completedAt")
# An answer to a message that has no row is named by a digest under the installation's key.
NAMED_BY_A_KEY = ("conflict", "unreadable")


def body_of(name: str) -> bytes:
    return json.dumps(example_request(name), ensure_ascii=False).encode()


def ask(stack: Stack, name: str, **properties: Any) -> tuple[Any, Any, dict[str, Any]]:
    stack.publish(body_of(name), **properties)
    until(lambda: stack.depth("collector"))
    ((method, found, body),) = stack.take()
    return method, found, json.loads(body)


def comparable(name: str, event: dict[str, Any]) -> dict[str, Any]:
    varying = (*VARYING, *(("eventId",) if name in NAMED_BY_A_KEY else ()))
    return {
        field: value is not None if field in varying else value for field, value in event.items()
    }


def test_a_real_worker_publishes_the_examples(working: Stack) -> None:
    headers = Draft202012Validator(asyncapi()["components"]["messages"]["result"]["headers"])
    for name in NAMES:
        to = {"reply_to": f"team.{name}", "correlation_id": f"c-{name}"}
        method, properties, event = ask(working, name, **to)
        assert comparable(name, event) == comparable(name, example_result(name))
        assert list(event) == list(example_result(name))
        assert (method.routing_key, properties.correlation_id) == (f"team.{name}", f"c-{name}")
        assert properties.message_id == event["eventId"]
        assert (properties.type, properties.delivery_mode) == ("verification.result.v1", 2)
        headers.validate(properties.headers)


def test_the_command_says_of_the_examples_what_the_worker_says() -> None:
    for name in NAMES:
        done = in_process.run(("contract", "validate", "-"), {}, body_of(name).decode())
        refused = example_result(name)["outcome"] == "rejected"
        assert done.returncode == int(refused), name
        problems = [line.partition(": ") for line in done.stdout.splitlines()]
        fields = example_result(name)["error"]["fields"] if refused else []
        said = [{"field": field, "problem": problem} for field, _, problem in problems]
        assert said == fields
    assert set(NAMES) > NO_REQUESTS
