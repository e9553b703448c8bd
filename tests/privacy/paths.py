"""Every path of a person's data through the real system, each with people of its own.

A path is over when everything that it caused is: rows, events, dead letters. All run at once but
for the last one, which restarts the servers.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg

from tests.e2e.harness import DEAD
from tests.privacy.commands import of_dead_letters, of_people, submit_encrypted
from tests.privacy.echoing import ANSWERS, PARKING, echoing_provider
from tests.privacy.failing_worker import STEPS, TALK
from tests.privacy.messages import Message, refused_messages
from tests.privacy.scene import PATIENCE, soon
from worker.sandbox.magic import ACTS

if TYPE_CHECKING:
    from tests.privacy.canaries import Canary
    from tests.privacy.scene import Ground, Job, Scene

_PAST = "2026-01-01T00:00:00Z"
# What PostgreSQL refuses with the whole row in its own words: at the claim, and at the record.
_POISON = """ALTER TABLE verification.request ADD CONSTRAINT poison CHECK (
    request_id NOT LIKE 'poison-claim%%'
    AND (auth_message IS NULL OR request_id NOT LIKE 'poison-record%%'))"""


# An outage would last for minutes; what parks a worker at once is followed by what resumes it.
_PATIENT = {"BREAKER_FAILURES": "1000"}
_DOUBTING = {"MAX_IN_DOUBT_CALLS": "9"}
_PARKING = frozenset({"access_error", "fail", "nonce_conflict", "quota_exceeded"})


def go_all(scene: Scene) -> None:
    """Drive every path to its end; raises what went wrong on the way."""
    with psycopg.connect(scene.database_url) as database:
        database.execute(_POISON)
    with ThreadPoolExecutor() as pool:
        ways = (
            answered,
            refused,
            echoed,
            killed,
            failing,
            talking,
            encrypted,
            unauthorised,
            commanded,
        )
        for path in [pool.submit(way, scene) for way in ways]:
            path.result()
    restarted(scene)


def _people(scene: Scene, name: str, how_many: int) -> list[Canary]:
    return [scene.aviary.hatch(f"{name}-{number}") for number in range(how_many)]


def _await_results(ground: Ground, people: list[Canary]) -> None:
    labels = {each.label for each in people}
    soon(lambda: labels <= ground.results().keys())


def answered(scene: Scene) -> None:
    """Take each check type and act of the sandbox; a repeat, a conflict, a deadline, poison."""
    box = scene.sandbox()
    ground = scene.ground("answered", box.url)
    worker = ground.start(EVENT_FORMAT="cloudevents", CONCURRENCY="2", **_PATIENT)
    people = _people(scene, "answered", len(ACTS))
    acts = [act for each in ACTS for act in ((each, "match") if each in _PARKING else (each,))]
    box.play(steps=[{"act": act, "calls": 1} for act in acts])
    for number, each in enumerate(people):
        ground.publish(each.request(number % 5, source="privacy", context={"n": number}))
    _await_results(ground, people)
    box.play()
    special = _people(scene, "answered-special", 3)
    past, twice, other = special
    ground.publish(past.request(expiresAt=_PAST))
    for _ in range(2):
        ground.publish(twice.request(4), reply_to="replies", correlation_id="repeated")
    _await_results(ground, [past, twice])
    ground.publish({**other.request(4), "requestId": twice.label}, correlation_id="conflicting")
    poison = [scene.aviary.hatch(label) for label in ("poison-claim", "poison-record")]
    for each in poison:
        ground.publish(each.request(0), correlation_id=each.label)
    _await_results(ground, [poison[1]])
    soon(lambda: worker.said("unstorable") and worker.said('"conflict"'))
    assert worker.stop() == 0


def refused(scene: Scene) -> None:
    """Send whatever the checks refuse, and what is no request; then dead letters are looked at."""
    box = scene.sandbox()
    ground = scene.ground("refused", box.url)
    worker = ground.start()
    messages: list[Message] = refused_messages(scene.aviary)
    ground.send(*messages)
    soon(lambda: _settled(worker) >= len(messages))
    assert ground.depth(DEAD)
    of_dead_letters(ground)
    assert worker.stop() == 0


def echoed(scene: Scene) -> None:
    """Ask a provider that says the person's data everywhere, in every class of answers."""
    with echoing_provider() as url:
        ground = scene.ground("echoed", url)
        worker = ground.start(MAX_IN_DOUBT_CALLS="3", CONCURRENCY="2", **_PATIENT)
        people = _people(scene, "echoed", len(PARKING) + 2 * len(ANSWERS))
        for number, each in enumerate(people):
            ground.publish(each.request(number % 5))
        _await_results(ground, people)
        assert worker.stop() == 0


def killed(scene: Scene) -> None:
    """Kill workers while they call and while they record, and who comes after them."""
    ground = scene.ground("killed", scene.sandbox().url)
    people = _people(scene, "killed", 8)
    for number, each in enumerate(people):
        ground.publish(each.request(number % 5))
    for step in ("call_sent", "call_charged", "record_sent", "unpublished:result"):
        job = ground.work("tests.chaos.crashing_worker", step, "1", CONCURRENCY="2")
        assert job.popen.wait(PATIENCE) == -9, step
    worker = ground.start(MAX_IN_DOUBT_CALLS="0")
    _await_results(ground, people)
    assert worker.stop() == 0


def failing(scene: Scene) -> None:
    """Let threads fail, with the person's data in the error; one that aborts."""
    ground = scene.ground("failing", scene.sandbox().url)
    people = _people(scene, "failing", len(STEPS))
    for number, (step, each) in enumerate(zip(STEPS, people, strict=True)):
        ground.publish(each.request(number % 5))
        job = ground.work("tests.privacy.failing_worker", step, SHUTDOWN_GRACE="2.5", **_DOUBTING)
        job.end_within(20.0)  # what it says until then is all that counts
    worker = ground.start(**_DOUBTING)
    _await_results(ground, people)
    worker.popen.terminate()
    worker.end_within(20.0)


def talking(scene: Scene) -> None:
    """Turn the debugging of every library on, by force: no setting of the worker's can."""
    ground = scene.ground("talking", scene.sandbox().url)
    people = _people(scene, "talking", 5)
    worker = ground.work("tests.privacy.failing_worker", TALK)
    for number, each in enumerate(people):
        ground.publish(each.request(number))
    _await_results(ground, people)
    assert worker.stop() == 0


def encrypted(scene: Scene) -> None:
    """Send messages that only their ends can read; one that no worker can; one that is raw."""
    ground = scene.ground("encrypted", scene.sandbox().url)
    people = _people(scene, "encrypted", 5)
    stranger, raw = _people(scene, "encrypted-to-nobody", 1), _people(scene, "sent-raw", 1)
    keys = submit_encrypted(ground, "public.json", people)
    submit_encrypted(ground, "other.json", stranger)
    worker = ground.start(MESSAGE_KEYS=keys, MESSAGE_ENCRYPTION="required")
    ground.publish(raw[0].request())
    _await_results(ground, [*people, *raw])
    soon(lambda: worker.said("undecryptable"))
    assert worker.stop() == 0


def unauthorised(scene: Scene) -> None:
    """Try credentials that the provider and the database refuse, while a message waits."""
    ground = scene.ground("unauthorised", scene.sandbox().url)
    people = _people(scene, "unauthorised", 4)
    for each in people:
        ground.publish(each.request(0))
    wrong: dict[str, str] = {"PROVIDER_SECRET_KEY": "wrong", "BREAKER_FAILURES": "1"}
    worker = ground.start(**wrong)
    soon(lambda: worker.said("worker.parked"))
    assert worker.stop() == 0
    nobody = ground.database_url.replace("postgres@", "nobody@")
    worker = ground.work(DATABASE_URL=nobody)
    soon(lambda: worker.said("database.unavailable"))
    worker.kill()
    worker = ground.start()
    _await_results(ground, people)
    assert worker.stop() == 0


def commanded(scene: Scene) -> None:
    """Give the commands that people give, with people in files, right and wrong."""
    ground = scene.ground("commanded", scene.sandbox().url)
    worker = ground.start()
    of_people(ground)
    assert worker.stop() == 0


def restarted(scene: Scene) -> None:
    """Kill the database and the broker while messages are under way."""
    box = scene.sandbox()
    ground = scene.ground("restarted", box.url)
    box.play(latency=0.2)
    worker = ground.start(CONCURRENCY="2", BATCH_LIMIT="1")
    people = _people(scene, "restarted", 20)
    for number, each in enumerate(people):
        ground.publish(each.request(number % 5))
    soon(ground.count)
    scene.database.kill()
    soon(lambda: worker.said("database.unavailable"))
    scene.database.start()
    soon(lambda: worker.said("database.back"))
    scene.broker.await_on_disk(ground.name, "verification.requests")
    for each_ground in scene.grounds:
        each_ground.forget_connection()
    for hose in scene.firehoses:
        hose.look()  # the copies of the firehose do not survive
    scene.broker.kill()
    scene.broker.start()
    _await_results(ground, people)
    assert worker.stop() == 0


def _settled(worker: Job) -> int:
    lines = worker.err.read_text().splitlines()
    return sum(json.loads(line)["event"] == "message.settled" for line in lines if line[-1:] == "}")
