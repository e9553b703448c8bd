"""Leaks made on purpose, one for each place: the search must find them all."""

from __future__ import annotations

import sys
import urllib.request
from typing import TYPE_CHECKING

import pika
import psycopg

from tests.e2e.harness import DEAD, RESULTS
from tests.privacy.scene import PROGRAM, soon
from tests.privacy.spellings import written

if TYPE_CHECKING:
    from tests.privacy.canaries import Canary
    from tests.privacy.scene import Ground, Scene

_SAY_IT = [sys.executable, "-c", "import sys; sys.stderr.write(sys.stdin.read())"]
_WAIT = [sys.executable, "-c", "import time; time.sleep(1.5)"]


def plant_all(scene: Scene) -> tuple[list[Canary], dict[str, str]]:
    """Leak people of its own into every place; return them, and who is in which place."""
    people: list[Canary] = []
    where: dict[str, str] = {}

    def somebody(*places: str) -> Canary:
        people.append(scene.aviary.hatch(f"planted-{len(people)}"))
        where.update(dict.fromkeys(places, people[-1].label))
        return people[-1]

    ground = scene.ground("planted", scene.sandbox().url)
    _say(scene, "worker", somebody("log of the workers").name)
    _say(scene, "command", somebody("output of the commands").id_card)
    _say(scene, "sandbox", somebody("log of the sandbox").mobile)
    left = dict(written(somebody("files left behind, results files").bankcard))
    (scene.root / "left" / "tmp" / "core").write_bytes(left["UTF-16 little-endian"])
    scene.run("other", [*_WAIT, somebody("command lines, environments").id_card], {})
    _scrape(scene, somebody("metrics, probes"))
    _span(scene, somebody("spans"))
    _publish(ground, somebody("result events"), somebody("retries, dead letters: headers"))
    _row(
        scene,
        somebody(
            "columns of all tables and views",
            "pg_dump",
            "PostgreSQL's files, its WAL",
            "PostgreSQL's log of all statements",
        ),
    )
    _statement(scene, somebody("pg_stat_activity, _statements"))
    ground.publish(somebody("RabbitMQ's files: encrypted bodies").request(3))
    _name(ground, somebody("RabbitMQ's log"), somebody("RabbitMQ's management pages"))
    return people, where


def _say(scene: Scene, kind: str, words: str) -> None:
    scene.run(kind, _SAY_IT, {"PYTHONUTF8": "1"}, given=words).popen.wait(10.0)


def _scrape(scene: Scene, canary: Canary) -> None:
    """Serve a metric whose label is a person."""
    metric = f'calls_total{{person="{canary.name}"}} 1\n'.encode()
    (scene.root / "given" / "metrics").write_bytes(metric)
    port = scene.watch.scraped_port()
    folder = str(scene.root / "given")
    scene.run("other", [*PROGRAM, "http.server", str(port), "-b", "127.0.0.1", "-d", folder], {})
    soon(lambda: metric in scene.watch.scrapes)


def _span(scene: Scene, canary: Canary) -> None:
    attribute = b"\x0a\x04name\x12" + canary.name.encode()
    with urllib.request.urlopen(scene.collector.url, attribute, timeout=5):
        pass


def _publish(ground: Ground, in_event: Canary, in_letter: Canary) -> None:
    headers = {"person": in_event.name}
    ground.channel.basic_publish(RESULTS, "x", b"{}", pika.BasicProperties(headers=headers))
    headers = {"lastError": f"bad value {in_letter.id_card}"}
    ground.channel.basic_publish("", DEAD, b"{}", pika.BasicProperties(headers=headers))


def _row(scene: Scene, canary: Canary) -> None:
    with psycopg.connect(scene.database_url) as database:
        database.execute("UPDATE verification.request SET masked_name = %s", [canary.name])


def _statement(scene: Scene, canary: Canary) -> None:
    with psycopg.connect(scene.database_url) as database:
        database.execute(f"SELECT pg_sleep(0.1) AS {canary.name}")


def _name(ground: Ground, of_connection: Canary, of_queue: Canary) -> None:
    parameters = pika.URLParameters(ground.amqp_url)
    parameters.client_properties = {"connection_name": of_connection.id_card}
    pika.BlockingConnection(parameters).close()
    ground.channel.queue_declare(of_queue.name)
