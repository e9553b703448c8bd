"""Scenarios: outages, limits and latency at run time, and what is none."""

import json
from collections import deque
from typing import Any

import pytest

from tests.unit.sandbox.caller import (
    ANYONE,
    FAR_TOO_LONG,
    OF_ANY_DATE,
    Caller,
    HeldSleep,
    RunningSandbox,
    Signer,
)
from worker.sandbox.behaviours import AtFirst
from worker.sandbox.magic import ACTS, BY_NAME, TABLE, Magic
from worker.sandbox.scenario import ScenarioRefused, read_scenario
from worker.sandbox.settings import SandboxSettings

NORMAL = {"steps": [], "latency": 0.0, "calls_per_minute": None}


def statuses(caller: Caller, calls: int) -> list[int]:
    return [caller.call(ANYONE).status for _ in range(calls)]


def now_playing(caller: Caller) -> dict[str, Any]:
    scenario: dict[str, Any] = caller.request("GET", "/scenario").json
    return scenario


# Acts and steps.


@pytest.mark.parametrize("magic", TABLE, ids=lambda magic: magic.name)
def test_any_behaviour_can_be_had_for_any_person(caller: Caller, magic: Magic) -> None:
    caller.play({"act": magic.name})
    with caller.connect() as client:
        client.sendall(caller.raw_call(ANYONE))
        caller.sandbox.wait_for_calls(1)
    name = magic.behaviour.act if isinstance(magic.behaviour, AtFirst) else magic.name
    counts = caller.counts()
    assert (counts.by_behaviour, counts.acts) == ({magic.name: 1}, {name: 1})
    assert counts.charges == int(ACTS[name].charged)


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        # An outage of some calls ends by itself; without a number of calls it lasts.
        ({"act": "unavailable", "calls": 3}, [503, 503, 503, 200, 200]),
        ({"act": "quota_exceeded"}, [429, 429, 429, 429]),
        # Steps follow one another, and the last may go on for ever.
        ({"steps": [{"act": "internal", "calls": 2}, {"act": None, "calls": 1},
                    {"act": "access_error", "calls": 1}, {"act": None}]},
         [500, 500, 200, 401, 200, 200]),
        ({"steps": [{"act": None, "calls": 1}, {"act": "unavailable"}]}, [200, 503, 503, 503]),
    ],
)  # fmt: skip
def test_calls_act_as_the_scenario_says(
    caller: Caller, scenario: dict[str, object], expected: list[int]
) -> None:
    caller.play(scenario)
    assert statuses(caller, len(expected)) == expected
    assert caller.counts().charges == expected.count(200)
    caller.play({"act": None})
    assert statuses(caller, 2) == [200, 200]


def test_an_act_holds_for_magic_numbers_too(caller: Caller) -> None:
    mismatch = BY_NAME["mismatch"].id_card
    caller.play({"act": "match", "calls": 1})
    assert [caller.call(mismatch).info["success"] for _ in range(2)] == [True, False]


def test_what_happens_at_first_happens_once_to_each_person(caller: Caller) -> None:
    caller.play({"act": "recovers_after_1"})
    asked = [caller.call(ANYONE, name).status for name in ("张三", "李四", "张三", "李四")]
    assert asked == [503, 503, 200, 200]
    caller.play({"act": "nonce_conflict_once"})
    asked = [caller.call(ANYONE, name).status for name in ("张三", "张三")]
    assert asked == [403, 200], "another behaviour begins anew"


# What holds now.


def test_what_holds_now_is_shown_and_could_be_put_again(caller: Caller) -> None:
    assert now_playing(caller) == NORMAL
    answer = caller.play(
        {"steps": [{"act": "unavailable", "calls": 3}, {"act": "html"}], "calls_per_minute": 100}
    )
    assert (answer.status, answer.json) == (200, now_playing(caller))
    assert statuses(caller, 1) == [503]
    rest = now_playing(caller)
    assert rest == {
        "steps": [{"act": "unavailable", "calls": 2}, {"act": "html", "calls": None}],
        "latency": 0.0,
        "calls_per_minute": 100,
    }
    assert caller.play(rest).json == rest
    assert statuses(caller, 2) == [503, 503]
    assert now_playing(caller)["steps"] == [{"act": "html", "calls": None}]


def test_a_refused_scenario_changes_nothing(caller: Caller) -> None:
    caller.play({"act": "unavailable"})
    assert caller.play({"act": None, "latency": -1}).status == 422
    assert statuses(caller, 1) == [503]


def test_a_reset_ends_the_scenario(caller: Caller) -> None:
    caller.play({"act": "unavailable", "latency": 0.01, "calls_per_minute": 1})
    caller.reset()
    assert now_playing(caller) == NORMAL
    assert statuses(caller, 2) == [200, 200]


def test_the_counts_can_be_zeroed_in_the_middle_of_a_scenario(caller: Caller) -> None:
    caller.play({"act": "unavailable", "calls": 2})
    assert statuses(caller, 1) == [503]
    caller.request("DELETE", "/charges")
    assert caller.counts().calls == 0
    assert statuses(caller, 2) == [503, 200]


# Latency.


def test_a_call_keeps_the_latency_that_held_when_it_came() -> None:
    sleep = HeldSleep()
    with RunningSandbox(sleep=sleep) as sandbox:
        caller = Caller(sandbox)
        caller.play({"latency": 60})
        with caller.connect() as client:
            client.sendall(caller.raw_call(ANYONE))
            assert sleep.begun.acquire(timeout=FAR_TOO_LONG)
            assert now_playing(caller)["latency"] == 60, "what is no call is answered at once"
            caller.play({"latency": None})
            assert statuses(caller, 1) == [200]
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)
    assert sleep.asked == [60.0]


def test_without_a_latency_of_its_own_a_scenario_leaves_that_of_the_start() -> None:
    with RunningSandbox(SandboxSettings(latency=0.01)) as sandbox:
        caller = Caller(sandbox)
        assert caller.play({"act": "html"}).json["latency"] == 0.01
        assert statuses(caller, 1) == [200]
        assert caller.play({"latency": 0}).json["latency"] == 0
        caller.reset()
        assert now_playing(caller)["latency"] == 0.01


# The provider's own limit.


def test_calls_beyond_the_limit_of_a_sliding_minute_are_throttled_and_free() -> None:
    moments = deque([0.0, 0, 10, 20, 30, 59.9, 60, 60, 70, 79, *[79] * 5])
    with RunningSandbox(OF_ANY_DATE, moments.popleft) as sandbox:
        caller = Caller(sandbox)
        caller.call(ANYONE)  # before the limit: not held against it
        caller.play({"calls_per_minute": 3})
        assert statuses(caller, 5) == [200, 200, 200, 429, 429]
        # The first of the three has left, the second not yet. What was throttled fills nothing.
        assert statuses(caller, 4) == [200, 429, 200, 429]
        counts = caller.counts()
        assert counts.by_behaviour == counts.acts == {"match": 6, "throttled": 4}
        assert (counts.calls, counts.charges, counts.refused) == (10, 6, 0)
        caller.play({})
        assert statuses(caller, 5) == [200] * 5


def test_a_throttled_call_is_told_when_to_come_again_and_uses_up_no_step(caller: Caller) -> None:
    caller.play({"act": "unavailable", "calls": 2, "calls_per_minute": 1})
    assert statuses(caller, 1) == [503]
    answer = caller.call(ANYONE)
    assert (answer.error, answer.headers["Retry-After"]) == ((429, "RATE_LIMIT_EXCEEDED"), "1")
    assert now_playing(caller)["steps"] == [{"act": "unavailable", "calls": 1}]


def test_a_call_that_the_checks_refuse_uses_up_no_step_and_fills_no_limit(caller: Caller) -> None:
    caller.play({"act": "unavailable", "calls": 1, "calls_per_minute": 2})
    assert Caller(caller.sandbox, Signer(secret_key="wrong")).call(ANYONE).status == 401
    assert statuses(caller, 3) == [503, 200, 429]


# What is no scenario, and how that is said.

FOREVER = {"act": "match"}
NO_CALLS = (0, -1, 1.0, "1", True)
PROBLEMS: list[tuple[object, str]] = [
    *((document, "scenario") for document in (None, ["match"], "match")),
    ({"acts": "match"}, "acts"),
    *(({"act": act}, "act") for act in ("no such act", "throttled", 503, ["match"])),
    *(({"act": "match", "calls": calls}, "calls") for calls in NO_CALLS),
    ({"calls": 5}, "calls"),
    ({"act": None, "calls": 5}, "calls"),
    *(({"steps": steps}, "steps") for steps in ({"act": "match"}, [FOREVER] * 1001)),
    ({"steps": ["match"]}, "steps[0]"),
    ({"steps": [{}]}, "steps[0].act"),
    ({"steps": [{"act": "match", "calls": 1}, {"act": "no such act"}]}, "steps[1].act"),
    ({"steps": [{"act": "match", "cals": 1}]}, "steps[0].cals"),
    ({"steps": [{"act": "match", "calls": 0}]}, "steps[0].calls"),
    ({"steps": [FOREVER, FOREVER]}, "steps[0].calls"),
    ({"steps": [], "act": "match"}, "act"),
    ({"steps": [], "calls": 1}, "calls"),
    *(({"latency": seconds}, "latency") for seconds in (-0.1, 86_400, "1", True)),
    *(({"calls_per_minute": limit}, "calls_per_minute") for limit in (-1, 1_000_001, 1.5, False)),
]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        *((json.dumps(document).encode(), 422, field) for document, field in PROBLEMS),
        *(
            (body, 400, "scenario")
            for body in (b"", b"{", b"\xff", b'{"latency": NaN}', b"[" * 100_000)
        ),
    ],
)
def test_what_is_no_scenario_is_refused_by_the_name_of_the_field(
    body: bytes, code: int, field: str
) -> None:
    with pytest.raises(ScenarioRefused) as caught:
        read_scenario(body)
    assert (caught.value.code, caught.value.field) == (code, field)


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
    assert caller.counts().calls == 0
