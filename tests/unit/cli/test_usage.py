"""A mistake in a command is one line on standard error and exit code 2; help is help."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.unit.conftest import Ended
from worker.cli.app import application


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("bogus", "there is no command bogus"),
        ("statuss", "there is no command statuss, perhaps status"),
        ("dead-letters bogus", "there is no command bogus"),
        ("explain", "request_id is missing"),
        ("status --bogus", "there is no option --bogus"),
        ("status --jsn", "there is no option --jsn, perhaps --json"),
        ("pause --timeout", "--timeout needs a value"),
        ("pause --timeout 0", "--timeout: must be at least 1"),
        ("status --watch --every inf", "--every: must be at most 3600.0"),
        ("submit --timeout -1", "--timeout: must be at least 0"),
        ("outbox list --limit 0", "--limit: must be at least 1"),
        ("outbox list --limit many", "--limit: must be a whole number"),
        ("sandbox --port 99999", "--port: must be at most 65535"),
        ("message-keys generate --type DSA", "--type: must be one of EC, OKP, RSA"),
        ("reconcile i.csv --mode dry", "--mode: must be one of live, sandbox"),
        ("digest 11010519491231002X", "there are more arguments than it takes"),
    ],
)
def test_a_mistake_in_a_command_is_one_line(ended: Ended, words: str, complaint: str) -> None:
    assert ended(words) == (2, "", f"verification-worker: {complaint}: see --help\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("submit one.json --name x", "--name: the file says it"),
        ("submit people.csv --check-type 2", "--check-type: the file says it"),
        ("submit people.csv --request-id x", "--request-id: each line of the file has its own"),
        ("submit people.jsonl --encoding utf-8", "--encoding: is for a .csv: JSON is UTF-8"),
        (
            "submit people.csv --results r.csv --timeout 0",
            "--results: no result is waited for with --timeout 0",
        ),
        (
            "submit one.json --results r.csv",
            "--results: is for a .csv or .jsonl of many requests",
        ),
        (
            "submit --check-type 2 --encoding utf-8",
            "--encoding: is for a .csv or .jsonl of many requests",
        ),
        ("pause --timeout 5", "--timeout: is for --wait"),
        ("status --every 5", "--every: is for --watch"),
        ("digest --keys --unchecked", "--unchecked: no number is read with --keys"),
        ("sandbox --table --port 0", "--port: nothing is served with --table"),
        ("reconcile i.csv --json --limit 5", "--limit: all rows are printed with --json"),
    ],
)
def test_an_option_that_would_do_nothing_is_a_mistake(
    ended: Ended, words: str, complaint: str
) -> None:
    assert ended(words) == (2, "", f"verification-worker: {complaint}\n")


def test_the_help_has_the_one_rule_of_exit_codes(ended: Ended) -> None:
    assert "Exit codes of all commands" in ended("--help")[1]


@pytest.mark.parametrize(("words", "code"), [("", 2), ("outbox", 2), ("-h", 0), ("outbox -h", 0)])
def test_without_a_command_there_is_help(ended: Ended, words: str, code: int) -> None:
    ended_with, out, err = ended(words)
    assert (ended_with, err) == (code, "")
    assert "Usage: " in out


FULL = "what it says cannot be written (No space left on device)"


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ("--version >/dev/full", 2, FULL),
        ("digest --keys >&-", 0, None),
        ("digest <&-", 2, "needs one ID number on standard input; there are 0"),
        ("digest <&- >&- 2>&-", 2, None),
    ],
)
def test_a_stream_that_is_closed_or_full_is_no_defect(
    words: str, code: int, complaint: str | None
) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {sys.executable} -m worker {words}"],
        env={**os.environ, "DIGEST_KEY": "a key of the tests, of 32 characters or more"},
        cwd=Path(__file__).parents[3],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    told = "" if complaint is None else f"verification-worker: {complaint}\n"
    assert (done.returncode, done.stderr) == (code, told)


def test_an_interrupt_while_a_command_is_loaded_says_nothing(
    monkeypatch: pytest.MonkeyPatch, ended: Ended
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("worker.cli.app.import_module", interrupted)
    assert ended("status") == (130, "", "")


def test_a_worker_that_is_a_container_s_first_process_ends_by_sigterm_while_it_starts(
    tmp_path: Path,
) -> None:
    """Such a process has no default actions: here, too, what it does not handle is dropped."""
    first = """if True:
        import os, signal
        from worker.cli import main
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.getpid = lambda: 1
        main()
    """
    key = tmp_path / "digest-key"
    os.mkfifo(key)
    checkout = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", first, "run"],
        env={"DIGEST_KEY_FILE": str(key), "PYTHONPATH": str(checkout)},
        stderr=subprocess.DEVNULL,
    ) as worker:
        with key.open("wb"):  # it reads its settings now
            worker.terminate()
            with suppress(subprocess.TimeoutExpired):
                worker.wait(120)
        assert worker.wait() == 128 + signal.SIGTERM


def test_the_version_is_that_of_the_package(ended: Ended) -> None:
    told = (0, f"verification-worker {version('verification-worker')}\n", "")
    assert ended("--version") == told


@pytest.mark.parametrize(("text", "lines"), [("", 0), ("1\n2\n", 2)])
def test_a_digest_is_that_of_one_person(
    ended: Ended, monkeypatch: pytest.MonkeyPatch, text: str, lines: int
) -> None:
    monkeypatch.setenv("DIGEST_KEY", "a key of the tests, of 32 characters or more")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    complaint = f"needs one ID number on standard input; there are {lines}"
    assert ended("digest") == (2, "", f"verification-worker: {complaint}\n")


def test_a_paragraph_of_the_help_fills_its_lines(
    ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    _, out, _ = ended("status --help")
    told = out[out.index("Queues are asked") : out.index("Options")].split("\n\n")[0]
    *lines, _last = (line.strip() for line in told.splitlines() if line.strip())
    assert all(len(line) > 60 for line in lines[:-1]), told


# Commands that do something, or print JSON or what a program takes as it is anyway.
WITHOUT_JSON = frozenset(
    "run|console|sandbox|pause|resume|submit|topology apply|digest|contract|contract asyncapi|"
    "message-keys generate|message-keys public".split("|")
)


def commands(group: Any, *before: str) -> Iterator[tuple[str, Any]]:
    """Yield every command with its words; a group is one where it can be called by itself."""
    if before and (not hasattr(group, "commands") or group.invoke_without_command):
        yield " ".join(before), group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, *before, name)


def test_every_command_says_what_it_is_for_and_what_reads_has_json() -> None:
    found = dict(commands(typer.main.get_command(application())))
    assert [words for words, command in found.items() if not command.help] == []
    with_json = {
        words
        for words, command in found.items()
        if any("--json" in parameter.opts for parameter in command.params)
    }
    assert found.keys() - with_json == WITHOUT_JSON
