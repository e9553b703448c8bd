"""Every way of a person's data through the real system, each with people of its own.

A scenario is over when everything that it caused is: rows, events, dead letters. All run at once
but for the last one, which restarts the servers.
"""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor

import psycopg

from tests.e2e.harness import DEAD, SandboxProcess, await_on_disk
from tests.privacy.canaries import Canary
from tests.privacy.commands import (
    look_at_the_console,
    submit_encrypted,
    use_commands_about_people,
    use_dead_letters,
)
from tests.privacy.echoing_provider import ANSWERS, PARKING, echoing_provider
from tests.privacy.failing_worker import DEBUGGING, STEPS
from tests.privacy.messages import refused_messages
from tests.privacy.system import PATIENCE, Job, Site, System, eventually
from worker.sandbox.magic import ACTS

# What PostgreSQL refuses with the whole row in its own words: at the claim, and at the record.
_POISON = """ALTER TABLE verification.request ADD CONSTRAINT poison CHECK (
    request_id NOT LIKE 'poison-claim%%'
    AND (auth_message IS NULL OR request_id NOT LIKE 'poison-record%%'))"""
# An outage would last for minutes; what parks a worker at once is followed by what resumes it.
_PATIENT = {"BREAKER_FAILURES": "1000"}
# Each of its answers comes once: none may be lost to a deadline on a busy machine.
_UNHURRIED = {"CALL_DEADLINE": "6", "CONNECT_TIMEOUT": "2"}
_DOUBTING = {"MAX_IN_DOUBT_CALLS": "9"}
_PARKING = frozenset({"access_error", "fail", "nonce_conflict", "quota_exceeded"})


def run_all(system: System) -> None:
    """Drive every scenario to its end; raises what went wrong on the way."""
    with psycopg.connect(system.database_url) as database:
        database.execute(_POISON)
    at_once = (_answered, _refused, _echoed, _killed, _failing, _encrypted, _unauthorised,
               _commanded)  # fmt: skip
    with ThreadPoolExecutor() as pool:
        for scenario in [pool.submit(each, system) for each in at_once]:
            scenario.result()
    _restarted(system)


def _publish(site: Site, people: list[Canary]) -> None:
    for number, each in enumerate(people):
        site.publish(each.request(number % 5))


def _await_results(site: Site, *people: Canary) -> None:
    labels = {each.label for each in people}
    eventually(lambda: labels <= site.results().keys())


def _answered(system: System) -> None:
    """Take each check type and act of the sandbox; a repeat, a conflict, a deadline, poison."""
    site = Site(system, "answered", system.sandbox())
    worker = site.start(EVENT_FORMAT="cloudevents", CONCURRENCY="2", **_PATIENT, **_UNHURRIED)
    people = system.people.invent_many("answered", len(ACTS))
    acts = [act for each in ACTS for act in ((each, "match") if each in _PARKING else (each,))]
    site.provider.play(steps=[{"act": act, "calls": 1} for act in acts])
    for number, each in enumerate(people):
        site.publish(each.request(number % 5, source="privacy", context={"n": number}))
    _await_results(site, *people)
    past, twice, other, *unanswered = system.people.invent_many("answered-special", 5)
    for act, each in zip(("unavailable", "reset_after_charge"), unanswered, strict=True):
        site.provider.play(act=act)
        site.publish(each.request(0))
        _await_results(site, each)
    site.provider.play()
    site.publish(past.request(expiresAt="2026-01-01T00:00:00Z"))
    for _ in range(2):
        site.publish(twice.request(4), reply_to="replies", correlation_id="repeated")
    _await_results(site, past, twice)
    site.publish({**other.request(4), "requestId": twice.label}, correlation_id="conflicting")
    poison = [system.people.invent(label) for label in ("poison-claim", "poison-record")]
    for each in poison:
        site.publish(each.request(0), correlation_id=each.label)
    _await_results(site, poison[1])
    eventually(lambda: worker.said("unstorable") and worker.said('"conflict"'))
    assert worker.stop() == 0


def _refused(system: System) -> None:
    """Send whatever the checks refuse, and what is no request; then dead letters are looked at."""
    site = Site(system, "refused")
    worker = site.start()
    messages = list(refused_messages(system.people))
    for body, properties in messages:
        site.publish(body, **properties)
    eventually(lambda: _settled(worker) >= len(messages))
    assert site.depth(DEAD)
    known, unknown = (system.people.invent(each) for each in ("looked-up", "not-known"))
    site.publish(known.request())
    _await_results(site, known)
    look_at_the_console(site, known, unknown)
    use_dead_letters(site)
    assert worker.stop() == 0


def _settled(worker: Job) -> int:
    lines = worker.err.read_text().splitlines()
    return sum(json.loads(line)["event"] == "message.settled" for line in lines if line[-1:] == "}")


def _echoed(system: System) -> None:
    """Ask a provider that says the person's data everywhere, in every class of answers.

    The debugging of every library is turned on, by force: no setting of the worker's can.
    """
    with echoing_provider() as url:
        site = Site(system, "echoed", SandboxProcess(None, url))  # type: ignore[arg-type]
        settings = {"MAX_IN_DOUBT_CALLS": "3", "CONCURRENCY": "2", **_PATIENT}
        worker = site.launch("tests.privacy.failing_worker", DEBUGGING, **settings)
        people = system.people.invent_many("echoed", len(PARKING) + len(ANSWERS))
        _publish(site, people)
        _await_results(site, *people)
        assert worker.stop() == 0


def _killed(system: System) -> None:
    """Kill workers while they call and while they record, and who comes after them."""
    site = Site(system, "killed")
    people = system.people.invent_many("killed", 8)
    _publish(site, people)
    for step in ("call_charged", "record_sent"):
        job = site.launch("tests.chaos.crashing_worker", step, "1", CONCURRENCY="2")
        assert job.popen.wait(PATIENCE) == -signal.SIGKILL, step
    worker = site.start(MAX_IN_DOUBT_CALLS="0")
    _await_results(site, *people)
    assert worker.stop() == 0


def _failing(system: System) -> None:
    """Let threads fail, with the person's data in the error; one that aborts."""
    site = Site(system, "failing")
    people = system.people.invent_many("failing", len(STEPS))
    for step, each in zip(STEPS, people, strict=True):
        _publish(site, [each])
        job = site.launch("tests.privacy.failing_worker", step, SHUTDOWN_GRACE="2.5", **_DOUBTING)
        code = job.popen.wait(PATIENCE)
        assert code == (-signal.SIGABRT if step == "abort" else 1), step
    worker = site.start(**_DOUBTING)
    _await_results(site, *people)
    assert worker.stop() == 0


def _encrypted(system: System) -> None:
    """Send messages that only their ends can read; one that no worker can; one that is raw."""
    site = Site(system, "encrypted")
    people = system.people.invent_many("encrypted", 5)
    keys = submit_encrypted(site, "public", people)
    submit_encrypted(site, "other", system.people.invent_many("encrypted-to-nobody", 1))
    raw = system.people.invent("sent-raw")
    worker = site.start(MESSAGE_KEYS=keys, MESSAGE_ENCRYPTION="required")
    site.publish(raw.request())
    _await_results(site, *people, raw)
    eventually(lambda: worker.said("undecryptable"))
    assert worker.stop() == 0


def _unauthorised(system: System) -> None:
    """Try credentials that the provider and the database refuse, while a message waits."""
    site = Site(system, "unauthorised")
    people = system.people.invent_many("unauthorised", 4)
    for each in people:
        site.publish(each.request(0))
    worker = site.start(PROVIDER_SECRET_KEY="wrong", BREAKER_FAILURES="1")
    eventually(lambda: worker.said("worker.parked"))
    assert worker.stop() == 0
    worker = site.launch(DATABASE_URL=site.database_url.replace("postgres@", "nobody@"))
    eventually(lambda: worker.said("database.unavailable"))
    worker.kill()
    worker = site.start()
    _await_results(site, *people)
    assert worker.stop() == 0


def _commanded(system: System) -> None:
    """Give the commands that people give, with people in files, right and wrong."""
    site = Site(system, "commanded")
    worker = site.start()
    use_commands_about_people(site)
    assert worker.stop() == 0


def _restarted(system: System) -> None:
    """Kill the database and the broker while messages are under way."""
    site = Site(system, "restarted", system.sandbox())
    site.provider.play(latency=0.2)
    worker = site.start(CONCURRENCY="2", BATCH_LIMIT="1")
    people = system.people.invent_many("restarted", 20)
    _publish(site, people)
    eventually(site.count)
    system.database.kill()
    eventually(lambda: worker.said("database.unavailable"))
    system.database.start()
    eventually(lambda: worker.said("database.back"))
    await_on_disk(system.broker, site.name, "verification.requests")
    for each in system.sites:
        each.forget_connection()
        each.firehose.take()  # its copies do not survive
    system.broker.kill()
    system.broker.start()
    _await_results(site, *people)
    assert worker.stop() == 0
