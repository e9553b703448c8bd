"""What is published is what the models make, and what AsyncAPI takes."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from tests.contract.regenerate import FOLDER, GUIDE, documents, filled_in
from worker.contract.encryption import JOSE, JSON
from worker.contract.envelope import check_envelope
from worker.contract.golden import NAMES, NO_REQUESTS, example_request, example_result
from worker.contract.jwk import ALGORITHMS, ENCRYPTIONS
from worker.contract.names import BULK, EVENT_TYPE, REQUESTS, RESULTS, UNROUTED
from worker.contract.request_model import CONTEXT_LIMIT, REQUEST_ID_LIMIT
from worker.contract.result_v1 import CLOUD_PREFIX, result_event
from worker.contract.schemas import asyncapi, request_schema, result_schema
from worker.core.claims import Envelope
from worker.core.delivery import Delivery, EventFormat
from worker.core.outcome import ErrorKind, Outcome, Result, StoredResult
from worker.core.request import Mode
from worker.sandbox.scenario import read_scenario
from worker.settings import CheckSettings

AGAIN = ".venv/bin/python -m tests.contract.regenerate"


def test_the_published_files_are_what_the_models_make() -> None:
    assert {path.name: path.read_bytes() for path in FOLDER.iterdir()} == documents(), AGAIN


def test_the_guide_has_the_table_the_fields_and_the_examples_as_they_are() -> None:
    text = GUIDE.read_text()
    assert text.count("<!-- begin ") == text.count("<!-- end -->") == 12
    assert text == filled_in(text), AGAIN


def test_the_guide_says_what_to_do_on_every_outcome_and_kind_of_error() -> None:
    text = GUIDE.read_text()
    assert [each for each in Outcome if f"\n| `{each}` |" not in text] == []
    assert [each for each in ErrorKind if f"\n| `{each}` |" not in text] == []
    headers = asyncapi()["components"]["messages"]["result"]["headers"]["properties"]
    cloud = [each for each in headers if each.startswith(CLOUD_PREFIX)]
    assert [each for each in cloud if f"`{each}`" not in text] == []


def test_the_guides_limits_are_the_codes() -> None:
    text = GUIDE.read_text()
    settings = CheckSettings.model_construct()
    assert f"1 to {REQUEST_ID_LIMIT} printable characters" in text
    assert f"{CONTEXT_LIMIT:,} bytes as compact JSON" in text
    assert settings.max_message_bytes == 1 << 20
    least, most = settings.portrait_min_bytes, settings.portrait_max_bytes
    assert f"{least:,} to {most:,} bytes" in text
    for length, problems in ((255, 0), (256, 2)):
        delivery = Delivery(0, 0, b"", reply_to="k" * length, correlation_id="c" * length)
        assert len(check_envelope(delivery)[1]) == problems


def test_the_guides_scenarios_are_ones() -> None:
    bodies = re.findall(r"/scenario\" -d '(.*?)'", GUIDE.read_text())
    assert len(bodies) == 4
    for body in bodies:
        read_scenario(body.encode())


def test_every_outcome_has_an_example() -> None:
    assert {example_result(name)["outcome"] for name in NAMES} == set(Outcome)
    for folder in ("requests", "results"):
        files = (FOLDER.parent / "examples" / folder).iterdir()
        assert {path.stem for path in files} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_true_to_the_schemas(name: str) -> None:
    is_request = Draft202012Validator(request_schema()).is_valid(example_request(name))
    assert is_request is (name not in NO_REQUESTS)
    Draft202012Validator(result_schema()).validate(example_result(name))


def test_the_document_has_the_names_of_the_code() -> None:
    document = asyncapi()
    channels = document["channels"]
    exchanges = [each["bindings"]["amqp"]["exchange"]["name"] for each in channels.values()]
    assert exchanges == [REQUESTS, BULK, RESULTS, RESULTS]
    assert channels["results"]["description"].endswith(f" {UNROUTED}.")
    request, encrypted, result = document["components"]["messages"].values()
    assert [each["contentType"] for each in (request, encrypted, result)] == [JSON, JOSE, JSON]
    algorithms = sorted({each for several in ALGORITHMS.values() for each in several})
    told = f" alg: {', '.join(algorithms)}; enc: {', '.join(ENCRYPTIONS)}; kid:"
    assert told in encrypted["summary"]
    assert result["name"] == result["bindings"]["amqp"]["messageType"] == EVENT_TYPE
    asked = datetime.now(UTC)
    stored = StoredResult(
        "a", "b", 2, Mode.LIVE, Result(Outcome.MATCH), 1, asked, asked, context=None
    )
    event = result_event(stored, Envelope(traceparent="00-"), EventFormat.CLOUDEVENTS)
    properties = {"message_id", "correlation_id"}
    assert result["headers"]["properties"].keys() - properties == event.headers.keys()


def test_the_document_is_as_asyncapi_has_it(node_environment: dict[str, str]) -> None:
    """By AsyncAPI's own schema, and in what that cannot say: what names another part finds it."""
    document = asyncapi()
    schemas = Path(node_environment["NODE_PATH"], "@asyncapi", "specs", "schemas")
    schema = json.loads((schemas / "3.0.0-without-$id.json").read_text())
    Draft7Validator(schema).validate(document)
    resolver = Registry().with_resource("", DRAFT7.create_resource(document)).resolver()
    for reference in re.findall(r'"\$ref": "(.*?)"', json.dumps(document)):
        resolver.lookup(reference)
    operations = document["operations"]
    assert list(operations) == ["receiveRequest", "receiveBulkRequest", "sendResult"]
    replies = (each["reply"] for each in operations.values() if "reply" in each)
    for side in (*operations.values(), *replies):
        for message in side["messages"]:
            assert message["$ref"].startswith(f"{side['channel']['$ref']}/messages/")
    for channel in document["channels"].values():
        named = re.findall(r"{(\w+)}", channel["address"] or "")
        assert named == list(channel.get("parameters", ()))
    for server in document["servers"].values():
        named = re.findall(r"{(\w+)}", server["host"] + server.get("pathname", ""))
        assert named == list(server.get("variables", ()))


@pytest.mark.parametrize("message", ["request", "result"])
def test_the_documents_examples_are_true_to_its_own_schemas(message: str) -> None:
    document = asyncapi()
    described = document["components"]["messages"][message]
    for part in ("payload", "headers"):
        schema = {**described[part], "components": document["components"]}
        examples = [each[part] for each in described["examples"] if part in each]
        assert len(examples) >= 7 or (message, part) == ("request", "headers")
        for example in examples:
            Draft202012Validator(schema).validate(example)
