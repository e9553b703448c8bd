"""`erase`: a person's data goes from tables and dead letters, and nobody else's."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from typing import Any

import pytest

from tests.e2e.harness import DEAD, ID_CARD, Stack, request, until
from tests.e2e.letters import bodies, put
from tests.fakes.keys import as_setting, message_keys
from worker.deadletters.reading import Known
from worker.deadletters.selecting import Acting

OTHER = "119999194912310013"  # the sandbox: a mismatch
ALWAYS_FAILS = "119999194912310224"


def erase(
    stack: Stack, *flags: str, numbers: str = ID_CARD, code: int = 0
) -> tuple[dict[str, Any], str]:
    """Run the command; return what it printed and what it said beside that."""
    done = stack.command("erase", "--json", *flags, text=f"{numbers}\n", code=code)
    assert ID_CARD not in done.stdout + done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_person_is_erased_and_nobody_else(stack: Stack) -> None:
    worker = stack.start_worker()
    stack.publish(request("hers", context={"applicant": 42}), correlation_id="c-1")
    stack.publish(request("his", OTHER))
    until(lambda: stack.count() == 2)
    assert worker.stop() == 0
    put(stack, request("hers-too"))
    put(stack, request("his-too", OTHER))
    put(stack, gzip.compress(json.dumps(request("hers-packed")).encode()), {"reason": "not_json"})
    put(stack, f"id={ID_CARD.lower()}".encode(), {"reason": "not_json"})
    put(stack, b'{"torn', {"reason": "not_json"}, correlation_id=ID_CARD)
    put(stack, b'{"torn', {"of": [{"whom": f"{ID_CARD[:6]}\u3000{ID_CARD[6:]}"}]}, app_id="onb")
    before = stack.results()
    found, _ = erase(stack, "--dry-run")
    assert found == {"requests": 1, "dead_letters": 5, "requests_open": 0, "events_unsent": 0}
    assert stack.results() == before
    assert erase(stack, "--yes")[0] == found
    hers, his = (stack.results()[each] for each in ("hers", "his"))
    assert his == before["his"]
    gone = {each for each in hers if before["hers"][each] is not None and hers[each] is None}
    assert gone == {"masked_name", "masked_id_card", "subject_digest", "context", "context_jsonb",
                    "auth_message", "auth_detail"}  # fmt: skip
    assert (hers["outcome"], hers["charged"], hers["calls"]) == ("match", "yes", 1)
    assert stack.left_in(DEAD) == 1
    assert [json.loads(body)["requestId"] for body in bodies(stack)] == ["his-too"]
    assert sum(erase(stack, "--yes")[0].values()) == 0


def test_what_is_still_open_is_named_and_the_command_fails(stack: Stack) -> None:
    stack.start_worker(BREAKER_FAILURES="1000", RETRY_DELAYS="1s,2s,30s")
    stack.publish(request("failing", ALWAYS_FAILS))
    until(lambda: stack.rows("SELECT 1 AS n FROM verification_v1.open_requests"))
    counts, said = erase(stack, "--yes", numbers=f"{ID_CARD}\n{ALWAYS_FAILS}", code=1)
    assert counts["requests_open"] == 1
    assert "1 request not finished: erase again when they are" in said


def test_a_letter_that_goes_back_to_work_before_it_is_dropped_is_named(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a person makes up their mind, workers put back what the broker has given up."""
    put(stack, request("hers"))
    drop = Acting.drop

    def put_back_before(acting: Acting[Known], chosen: Iterable[Known]) -> None:
        stack.channel.queue_purge(DEAD)
        drop(acting, chosen)

    monkeypatch.setattr(Acting, "drop", put_back_before)
    counts, said = erase(stack, "--yes", code=1)
    assert counts["dead_letters"] == 0
    assert "1 dead letter replayed or put back meanwhile: erase again" in said


def test_a_number_that_is_none_erases_nothing(working: Stack) -> None:
    working.have_answered(request("kept"))
    for numbers, words in (
        ("", "nothing to erase"),
        (f"{ID_CARD}\n110105194912310021", "line 2: the ID number check digit does not match"),
        ("12", "line 1: the ID number must have 17 digits and a check digit"),
    ):
        assert words in working.refused("erase", "--yes", text=numbers)
    assert working.results()["kept"]["subject_digest"] is not None


def test_nobody_is_erased_unasked_or_by_a_few_digits(stack: Stack) -> None:
    put(stack, request("hers"))
    assert "--yes" in stack.refused("erase", text=ID_CARD)
    # Too short a number would be found in others.
    assert "too short" in stack.refused("erase", "--yes", "--unchecked", text="1101")
    assert stack.depth(DEAD) == 1


def test_encrypted_dead_letters_are_searched_where_there_are_keys(stack: Stack) -> None:
    put(stack, message_keys().seal(json.dumps(request("hers")).encode()))
    put(stack, message_keys().seal(json.dumps(request("his", OTHER)).encode()))
    put(stack, message_keys().seal(b"{}"), message_id=ID_CARD)
    counts, said = erase(stack, "--yes", code=1)
    assert counts["dead_letters"] == 1  # by what stands beside its body
    assert "2 dead letters encrypted to a key that is not here: set MESSAGE_KEYS" in said
    stack.environment["MESSAGE_KEYS"] = as_setting()
    assert erase(stack, "--yes")[0]["dead_letters"] == 1
    assert stack.left_in(DEAD) == 1
