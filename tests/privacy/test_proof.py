"""Invented people go every way through the real system, and nothing of them stays anywhere."""

from __future__ import annotations

import json

import pytest

from tests.privacy.locations import LOCATIONS
from tests.privacy.proof import search
from tests.privacy.scenarios import run_all
from tests.privacy.system import Site, System, running_system
from worker.core.outcome import CallClass, ErrorKind, Outcome


@pytest.mark.usefixtures("own_servers")
@pytest.mark.timeout(1800)  # a minute and a half; on a busy machine ten times that
def test_nothing_of_anybody_stays_where_it_need_not_be() -> None:
    """One test, for all of it needs the same minute of work."""
    with running_system() as system:
        run_all(system)
        assert_nothing_is_found(system)
        assert_every_outcome_occurred(system)
        assert_the_workers_logged_what_happened(system)
        assert_leaks_on_purpose_are_found(system)


def assert_nothing_is_found(system: System) -> None:
    results = search(system, system.people.all)
    found = [(each.place, name, needle) for each in results for name, needle in each.found]
    assert found == []
    assert {each.place: each.size for each in results if each.size < 100} == {}


def assert_every_outcome_occurred(system: System) -> None:
    stack = system.sites[0]
    results = list(stack.results().values())
    assert {row["outcome"] for row in results} == {*Outcome} - {Outcome.CONFLICT}
    calls = {row["class"] for row in stack.rows("SELECT class FROM verification_v1.calls")}
    assert calls >= {*CallClass} - {CallClass.NOT_SENT}
    kinds = {row["error_kind"] for row in results if row["error_kind"]}
    assert kinds >= {ErrorKind.INVALID_REQUEST, ErrorKind.EXPIRED, ErrorKind.IN_DOUBT,
                     ErrorKind.PROVIDER_UNAVAILABLE, ErrorKind.PROTOCOL_ERROR,
                     ErrorKind.PROVIDER_REFUSED, ErrorKind.UNSTORABLE}  # fmt: skip
    letters = b"\n".join(letter for site in system.sites for letter in site.firehose.others)
    for reason in (b"not_json", b"not_an_object", b"no_usable_id", b"too_large", b"unstorable"):
        assert b"reason\n" + reason in letters
    refused = [each for each in system.people.all if each.label.startswith("refused-")]
    assert len(refused) > 60


def assert_the_workers_logged_what_happened(system: System) -> None:
    lines = [line for job in system.jobs if job.err.name.startswith("worker")
             for line in job.err.read_text(errors="replace").splitlines()]  # fmt: skip
    assert "Fatal Python error: Aborted" in lines  # with the stack of every thread
    assert [line for line in lines if line.startswith("Traceback")] == []
    for library in ("pika", "urllib3"):
        assert [line for line in lines if line.startswith(f"DEBUG:{library}")]
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert {line["event"] for line in logged} >= {
        "worker.failed", "worker.parked", "worker.resumed", "message.handed_back",
        "database.unavailable", "database.back", "amqp.connection_lost", "amqp.session_failed",
    }  # fmt: skip
    assert {line.get("action") for line in logged} >= {
        "completed", "conflict", "dead_lettered", "replayed", "retrying",
    }  # fmt: skip
    assert len(system.watch.scrapes) > 10
    assert system.spans


def assert_leaks_on_purpose_are_found(system: System) -> None:
    site = Site(system, "planted")
    planted = system.people.invent_many("planted", len(LOCATIONS))
    for location, person in zip(LOCATIONS, planted, strict=True):
        location.leak(site, person)
    for searched, person in zip(search(system, planted), planted, strict=True):
        assert person.label in {needle.label for _, needle in searched.found}, searched.place
