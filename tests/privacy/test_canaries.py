"""Invented people go through every path of the real system, and nothing of them stays anywhere."""

from __future__ import annotations

import json

import pytest

from tests.privacy.canaries import Aviary
from tests.privacy.messages import refused_messages
from tests.privacy.paths import go_all
from tests.privacy.places import PLACES
from tests.privacy.planting import plant_all
from tests.privacy.proof import search
from tests.privacy.scene import Scene
from worker.core.outcome import CallClass, ErrorKind, Outcome


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("own_servers")
def test_nothing_of_anybody_stays_where_it_need_not_be() -> None:
    """One test, for they all need the same minute of work."""
    with Scene() as scene:
        go_all(scene)
        assert_nothing_is_found(scene)
        assert_every_path_was_walked(scene)
        assert_the_workers_told_what_happened(scene)
        assert_leaks_on_purpose_are_found(scene)


def assert_nothing_is_found(walked: Scene) -> None:
    _, results = search(walked, walked.aviary.canaries)
    found = [(each.place, name, needle) for each in results for name, needle in each.found]
    assert found == []
    assert {each.place: each.size for each in results if each.size < 100} == {}


def assert_every_path_was_walked(walked: Scene) -> None:
    ground = walked.ground("asked", "http://127.0.0.1:1/v1/personal")
    results = list(ground.results().values())
    outcomes = {row["outcome"] for row in results}
    assert outcomes == {*Outcome} - {Outcome.CONFLICT}
    calls = {row["class"] for row in ground.rows("SELECT class FROM verification_v1.calls")}
    assert calls >= {*CallClass} - {CallClass.NOT_SENT}
    kinds = {row["error_kind"] for row in results if row["error_kind"]}
    assert kinds >= {ErrorKind.INVALID_REQUEST, ErrorKind.EXPIRED, ErrorKind.IN_DOUBT,
                     ErrorKind.PROVIDER_UNAVAILABLE, ErrorKind.PROTOCOL_ERROR,
                     ErrorKind.PROVIDER_REFUSED, ErrorKind.UNSTORABLE}  # fmt: skip
    letters = b"\n".join(letter for hose in walked.firehoses for letter in hose.others)
    for reason in (b"not_json", b"not_an_object", b"no_usable_id", b"too_large", b"unstorable"):
        assert b"reason\n" + reason in letters
    refused = [each.canary.label for each in refused_messages(Aviary())]
    assert len(refused) > 60


def assert_the_workers_told_what_happened(walked: Scene) -> None:
    lines = [line for job in walked.jobs if job.err.name.startswith("worker")
             for line in job.err.read_text(errors="replace").splitlines()]  # fmt: skip
    assert "Fatal Python error: Aborted" in lines  # with the stack of every thread
    assert [line for line in lines if line.startswith("Traceback")] == []
    for library in ("pika", "urllib3"):
        assert [line for line in lines if line.startswith(f"DEBUG:{library}")]
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert {line["event"] for line in told} >= {
        "worker.failed", "worker.parked", "worker.resumed", "message.handed_back",
        "database.unavailable", "database.back", "amqp.connection_lost", "amqp.session_failed",
    }  # fmt: skip
    assert {line.get("action") for line in told} >= {
        "completed", "conflict", "dead_lettered", "replayed", "retrying",
    }  # fmt: skip
    assert walked.watch.scraped > 10
    assert walked.collector.received


def assert_leaks_on_purpose_are_found(walked: Scene) -> None:
    people, where = plant_all(walked)
    assert {place.name for place in PLACES} == where.keys()
    _, results = search(walked, people)
    found = {each.place: {needle.label for _, needle in each.found} for each in results}
    assert [place for place, label in where.items() if label not in found[place]] == []
