"""A newcomer's hour: the commands and snippets of the pages, taken from there and done in order."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pika
import psycopg
import pytest
from pika.exceptions import ChannelClosedByBroker

from local_process import tied
from tests.e2e.harness import CHECKOUT, ID_CARD, until
from tests.sql.published import literal, queries
from worker.settings import Settings

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
CHINESE = (CHECKOUT / "deploy" / "README.zh.md").read_text(encoding="utf-8")
GUIDE = (CHECKOUT / "worker" / "contract" / "README.md").read_text(encoding="utf-8")
REQUEST_ID = "onb-2026-000123"
"""Of the request that the README shows, and that its queries ask for."""
QUEUE = "onboarding-web.results"
"""Of the guide's consumer in Python."""


def indented(page: str, heading: str) -> str:
    """Return what stands in a section's indented blocks, without the indent."""
    _, _, after = page.partition(f"\n## {heading}\n")
    part, _, _ = after.partition("\n## ")
    return "\n".join(line[4:] for line in part.splitlines() if line.startswith("    "))


def file_of_guide(name: str) -> str:
    """Return a file that the guide prints."""
    (text,) = re.findall(rf"<!-- begin file {name} -->\n```\w+\n(.*?)```", GUIDE, re.DOTALL)
    return str(text)


class Newcomer:
    """Somebody in a folder of their own, with a second terminal beside the first command."""

    def __init__(self, folder: Path, output: list[str]) -> None:
        self.folder = folder
        self.output = output
        settings = {name.upper() for name in Settings.model_fields}
        self.environment = {
            name: value for name, value in os.environ.items() if name not in settings
        } | {"COLUMNS": "80"}

    def follow(self) -> list[str]:
        """Take over the printed `export` lines; return the commands that stand below them."""
        lines = "".join(self.output).partition("In another terminal:\n")[2]
        printed = [line.strip() for line in lines.replace("\\\n", "").splitlines() if line.strip()]
        for line in printed:
            if line.startswith("export "):
                name, _, value = shlex.split(line)[1].partition("=")
                self.environment[name] = value.replace("$PATH", self.environment["PATH"])
        return [line for line in printed if not line.startswith("export ")]

    def types(self, command: str) -> str:
        """Do what a line says, which must go well; return its standard output."""
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def beside(self, *command: str) -> Iterator[Path]:
        """Let a command run meanwhile; give the file with what it says."""
        said = self.folder / "said.txt"
        with said.open("wb") as output:
            process = subprocess.Popen(
                tied(command),
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield said
        finally:
            process.kill()
            process.wait(60)

    def is_bound(self) -> bool:
        """Whether the guide's consumer has its queue."""
        url = pika.URLParameters(self.environment["AMQP_URL"])
        with pika.BlockingConnection(url) as connection:
            try:
                queue = connection.channel().queue_declare(QUEUE, passive=True)
            except ChannelClosedByBroker:  # it is not declared yet
                return False
            return bool(queue.method.consumer_count)

    def asks(self, query: str) -> list[tuple[object, ...]]:
        """Ask by SQL as people do."""
        with psycopg.connect(self.environment["DATABASE_URL"], autocommit=True) as database:
            database.execute("SET ROLE verification_reader")
            return database.execute(literal(query)).fetchall()


@pytest.fixture
def newcomer(own_servers: None, tmp_path: Path) -> Iterator[Newcomer]:
    """Start the README's first command, to stay; in the end Ctrl-C stops it all, and well."""
    command = indented(README, "Two commands").split()[0]
    output: list[str] = []
    someone = Newcomer(tmp_path, output)
    running = subprocess.Popen(
        tied([str(CHECKOUT / command), "--stay"], signal.SIGTERM),
        cwd=tmp_path,
        env=someone.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert running.stdout is not None
    reader = threading.Thread(target=output.extend, args=(running.stdout,))
    reader.start()
    try:
        last = "-c 'SELECT request_id"
        until(lambda: any(last in line for line in output) or running.poll() is not None, 240)
        yield someone
    finally:
        running.send_signal(signal.SIGINT)
        code = running.wait(120)
        reader.join()
        running.stdout.close()
    assert code == 0, "".join(output)


@pytest.mark.timeout(900)  # the first command alone may take 240 s
def test_a_newcomers_hour(newcomer: Newcomer) -> None:
    printed = [shape(line) for line in newcomer.output]
    shown = [shape(line) for line in indented(README, "Two commands").splitlines()]
    assert [line for line in shown if "demo-" in line and line not in printed] == []
    commands = newcomer.follow()

    # Publish, and read the event.
    for page, heading in ((CHINESE, "请求和结果"), (README, "A request and its result")):
        (newcomer.folder / "request.json").write_text(indented(page, heading), encoding="utf-8")
        newcomer.types("verification-worker contract validate request.json")
    for name in ("publish.py", "consume.py"):
        (newcomer.folder / name).write_text(file_of_guide(f"clients/{name}"))
    with newcomer.beside("python", "consume.py") as said:
        until(newcomer.is_bound)
        assert newcomer.types("python publish.py request.json") == f"published {REQUEST_ID}\n"
        until(lambda: f"{REQUEST_ID}: match, go on" in said.read_text())

    # Ask: the commands that the first one has printed, and the queries of README and guide.
    answers = [newcomer.types(command) for command in commands]
    assert len(commands) == 6
    assert '"outcome": "match"' in answers[0]
    assert "finished: match" in answers[1]
    (newcomer.folder / "file").write_text(ID_CARD)
    digest = newcomer.types("verification-worker digest < file").strip()
    asked = [query.replace("9f" * 32, digest) for query in queries()]
    *_, by_id, by_person, by_day = [newcomer.asks(query) for query in asked]
    assert [row[:2] for row in by_id] == [("match", "yes")]
    assert (REQUEST_ID, "match") in by_person
    assert by_day

    # Look.
    assert "finished: match" in newcomer.types(f"verification-worker explain {REQUEST_ID}")
    with newcomer.beside("verification-worker", "console", "--port", "0") as said:
        (address,) = until(lambda: re.findall(r"http://[\w.:]+/", said.read_text()))
        for path in ("requests", f"request?id={REQUEST_ID}"):
            with urllib.request.urlopen(address + path, timeout=60) as page:
                assert REQUEST_ID in page.read().decode()


def shape(line: str) -> str:
    """Return a printed line without the run's random part, and one blank for many."""
    return " ".join(re.sub("demo-[0-9a-f]{6}", "demo", line).split())
