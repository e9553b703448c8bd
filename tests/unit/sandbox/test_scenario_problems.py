"""What is no scenario, and how that is said."""

import json

import pytest

from tests.unit.sandbox.caller import Caller
from worker.sandbox.scenario import ScenarioRefused, read_scenario

FOREVER = {"act": "match"}
PROBLEMS: list[tuple[object, str]] = [
    (None, "scenario"),
    ([], "scenario"),
    ("match", "scenario"),
    ({"acts": "match"}, "acts"),
    ({"steps": [{"act": "match", "cals": 1}]}, "steps[0].cals"),
    # Acts.
    ({"act": "no such act"}, "act"),
    ({"act": "throttled"}, "act"),
    ({"act": 503}, "act"),
    ({"act": ["match"]}, "act"),
    # Calls.
    ({"act": "match", "calls": 0}, "calls"),
    ({"act": "match", "calls": -1}, "calls"),
    ({"act": "match", "calls": 1.0}, "calls"),
    ({"act": "match", "calls": "1"}, "calls"),
    ({"act": "match", "calls": True}, "calls"),
    ({"calls": 5}, "calls"),
    ({"act": None, "calls": 5}, "calls"),
    # Steps.
    ({"steps": {"act": "match"}}, "steps"),
    ({"steps": [FOREVER] * 1001}, "steps"),
    ({"steps": ["match"]}, "steps[0]"),
    ({"steps": [{}]}, "steps[0].act"),
    ({"steps": [{"act": "match", "calls": 1}, {"act": "no such act"}]}, "steps[1].act"),
    ({"steps": [{"act": "match", "calls": 0}]}, "steps[0].calls"),
    ({"steps": [FOREVER, FOREVER]}, "steps[0].calls"),
    ({"steps": [], "act": "match"}, "act"),
    ({"steps": [], "calls": 1}, "calls"),
    # Figures.
    ({"latency": -0.1}, "latency"),
    ({"latency": 86_400}, "latency"),
    ({"latency": "1"}, "latency"),
    ({"latency": True}, "latency"),
    ({"calls_per_minute": -1}, "calls_per_minute"),
    ({"calls_per_minute": 1_000_001}, "calls_per_minute"),
    ({"calls_per_minute": 1.5}, "calls_per_minute"),
    ({"calls_per_minute": False}, "calls_per_minute"),
]


@pytest.mark.parametrize(("document", "field"), PROBLEMS)
def test_what_is_no_scenario_is_refused_by_the_name_of_the_field(
    document: object, field: str
) -> None:
    with pytest.raises(ScenarioRefused) as caught:
        read_scenario(json.dumps(document).encode())
    assert (caught.value.code, caught.value.field) == (422, field)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"latency": NaN}', b"[" * 100_000])
def test_what_is_not_json_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(ScenarioRefused) as caught:
        read_scenario(body)
    assert (caught.value.code, caught.value.field) == (400, "scenario")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b'{"act": "nothing like it"}', 422, "act"),
        (b'{"latency": "of ' + b"x" * 5000 + b'"}', 422, "latency"),
        (b'{"a\\nname ' + b"x" * 5000 + b'": 1}', 422, "a\nname " + "x" * 57),
        (b"", 400, "scenario"),
    ],
)
def test_a_problem_is_one_short_line_that_quotes_no_value(
    caller: Caller, body: bytes, status: int, field: str
) -> None:
    answer = caller.request("PUT", "/scenario", body)
    assert answer.status == status
    assert answer.json.keys() == {"field", "problem"}
    assert answer.json["field"] == field
    assert b"\n" not in answer.body
    assert len(answer.body) < 1200
    assert b"nothing like it" not in answer.body
    assert caller.sandbox.charges().calls == 0
