"""`contract` and its commands, as a person uses them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.contract.regenerate import documents
from tests.e2e import in_process
from tests.e2e.harness import ID_CARD
from worker.contract.golden import FOLDER, example_request, example_result

WRONG = "110105194912310021"
AGAIN = "requestId: an earlier message has it with other data: the worker answers conflict"


def contract(*arguments: str, text: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    return in_process.run(("contract", *arguments), settings, text)


def person(**fields: str) -> dict[str, Any]:
    return {"requestId": "r-1", "personalSpec": {"checkType": 2, "personalUser": fields}}


def test_the_schemas_and_the_document_are_what_is_published() -> None:
    schemas = json.loads(contract().stdout)
    assert set(schemas) == {"verification.request.v1", "verification.result.v1"}
    for name, schema in schemas.items():
        assert schema == json.loads(documents()[f"{name}.schema.json"])
    assert contract("asyncapi").stdout.encode() == documents()["asyncapi.json"]


def test_a_good_request_is_said_to_be_one() -> None:
    done = contract("validate", str(FOLDER / "requests" / "match.json"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "1 checked, 0 refused\n")


def test_each_problem_is_named_by_its_field_and_no_value_is_shown() -> None:
    request = {**person(name="欧阳测试者", idCard=WRONG, mobile="13800138000"), "expiresAt": "soon"}
    extra = {"extra": "a secret", "source": "A Team"}
    # What pydantic refuses hides what comes after it.
    done = [contract("validate", "-", text=json.dumps(each)) for each in (request | extra, request)]
    shown = "".join(each.stdout + each.stderr for each in done)
    assert fields(*done) == [
        "source",
        "extra",
        "personalSpec.personalUser.idCard",
        "personalSpec.personalUser.mobile",
        "expiresAt",
    ]
    for hidden in ("欧阳", WRONG, "13800138000", "a secret", "A Team", "soon"):
        assert hidden not in shown


def fields(*done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the fields with a problem; a message that has one is refused."""
    assert {each.returncode for each in done} == {1}
    return [line.partition(":")[0] for each in done for line in each.stdout.splitlines()]


def test_the_lines_of_a_file_are_checked_one_by_one(tmp_path: Path) -> None:
    good, same = person(name="张三", idCard=ID_CARD), person(name="张三", idCard=ID_CARD.lower())
    wrong = {**person(name="张三", idCard=WRONG), "requestId": "r-2"}
    lines = [good, wrong, ["no request"], same, person(name="李四", idCard=ID_CARD)]
    file = tmp_path / "many.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    done = contract("validate", str(file))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "message 2: personalSpec.personalUser.idCard: check digit does not match",
        "message 3: body: must be a JSON object",
        f"message 5: {AGAIN}",
    ]
    assert done.stderr == "5 checked, 3 refused\n"


def test_a_message_id_stands_for_a_missing_request_id() -> None:
    request = {**person(name="张三", idCard=ID_CARD), "requestId": None}
    done = contract("validate", "-", text=json.dumps(request))
    assert done.stdout == "requestId: is required, here or as the AMQP message_id\n"
    done = contract("validate", "-", "--message-id", "m-1", text=json.dumps(request))
    assert done.returncode == 0


def test_a_missing_id_hides_no_other_problem() -> None:
    request = {**person(name="张", idCard=ID_CARD), "expiresAt": "tomorrow", "requestId": ""}
    done = contract("validate", "-", text=json.dumps(request))
    assert fields(done) == ["requestId", "personalSpec.personalUser.name", "expiresAt"]
    done = contract("validate", "-", text=json.dumps({**request, "extra": 1}))
    assert fields(done) == ["requestId", "extra"]
    deep = json.dumps({**request, "context": "@"}).replace('"@"', "[" * 300 + "]" * 300)
    assert fields(contract("validate", "-", text=deep)) == ["requestId"]


def test_what_only_warns_refuses_nothing_unless_it_is_set_to() -> None:
    card = {"name": "张三", "idCard": ID_CARD, "bankcard": "6222021234567890123"}
    request = {"requestId": "r", "personalSpec": {"checkType": 1, "personalUser": card}}
    done = contract("validate", "-", text=json.dumps(request))
    field = "personalSpec.personalUser.bankcard: "
    assert done.returncode == 0
    assert done.stdout.startswith(f"warning: {field}")
    done = contract("validate", "-", text=json.dumps(request), LUHN_CHECK="reject")
    assert done.returncode == 1
    assert done.stdout.startswith(field)


@pytest.mark.parametrize(
    ("change", "field"),
    [({"outcome": "perhaps"}, "outcome"), ({"charged": None}, "charged"), ({"calls": -1}, "calls")],
)
def test_a_result_event_is_checked_as_one(change: dict[str, Any], field: str) -> None:
    event = example_result("match")
    grown = {**event, "a_later_version": "adds this"}
    assert contract("validate", "-", text=json.dumps(grown)).returncode == 0
    done = contract("validate", "-", text=json.dumps({**event, **change}))
    assert done.returncode == 1
    assert done.stdout.startswith(f"{field}: ")
    assert "perhaps" not in done.stdout


def test_a_result_events_many_lines_are_read_too() -> None:
    text = json.dumps(example_result("failed")) + "\n" + json.dumps(example_request("failed"))
    done = contract("validate", "--lines", "-", text=text)
    assert (done.returncode, done.stderr) == (0, "2 checked, 0 refused\n")


@pytest.mark.parametrize("name", ["missing.json", "empty.jsonl"])
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.jsonl").touch()
    done = contract("validate", str(tmp_path / name))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
