"""A mistake in a command is one line on standard error and exit code 2; help is help."""

from __future__ import annotations

import io
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
import typer

from worker.cli import main
from worker.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator


def ended(
    patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> tuple[int, str, str]:
    """Run a command; return its exit code, its output and its errors."""
    patch.setattr(sys, "argv", ["verification-worker", *words.split()])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("bogus", "No such command 'bogus'"),
        ("dead-letters bogus", "No such command 'bogus'"),
        ("explain", "Missing argument 'request_id'"),
        ("status --bogus", "No such option: --bogus"),
        ("pause --timeout", "Option '--timeout' requires an argument"),
        ("outbox list --limit 0", "Invalid value for '--limit'"),
    ],
)
def test_a_mistake_in_a_command_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, complaint: str
) -> None:
    code, out, err = ended(monkeypatch, capsys, words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"verification-worker: {complaint}")
    assert err.endswith(": see --help\n")


@pytest.mark.parametrize(("words", "code"), [("", 2), ("outbox", 2), ("-h", 0), ("outbox -h", 0)])
def test_without_a_command_there_is_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, code: int
) -> None:
    ended_with, out, err = ended(monkeypatch, capsys, words)
    assert (ended_with, err) == (code, "")
    assert "Usage: " in out


def test_the_version_is_that_of_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = (0, f"verification-worker {version('verification-worker')}\n", "")
    assert ended(monkeypatch, capsys, "--version") == told


@pytest.mark.parametrize(("text", "lines"), [("", 0), ("1\n2\n", 2)])
def test_a_digest_is_that_of_one_person(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, lines: int
) -> None:
    monkeypatch.setenv("DIGEST_KEY", "a key of the tests, of 32 characters or more")
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    complaint = f"needs one ID number on standard input; there are {lines}"
    assert ended(monkeypatch, capsys, "digest") == (2, "", f"verification-worker: {complaint}\n")


def test_a_paragraph_of_the_help_fills_its_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    _, out, _ = ended(monkeypatch, capsys, "status --help")
    told = out[out.index("Queues are asked") : out.index("Options")].split("\n\n")[0]
    *lines, _last = (line.strip() for line in told.splitlines() if line.strip())
    assert all(len(line) > 60 for line in lines[:-1]), told


# Commands that do something, or print JSON or what a program takes as it is anyway.
WITHOUT_JSON = frozenset(
    "run|sandbox|pause|resume|submit|topology apply|check-config|digest|contract|contract asyncapi|"
    "message-keys generate|message-keys public".split("|")
)


def commands(group: Any, *before: str) -> Iterator[tuple[str, Any]]:
    """Yield every command with its words; a group is one where it can be called by itself."""
    if before and (not hasattr(group, "commands") or group.invoke_without_command):
        yield " ".join(before), group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, *before, name)


def test_every_command_says_what_it_is_for_and_what_reads_has_json() -> None:
    found = dict(commands(typer.main.get_command(app)))
    assert [words for words, command in found.items() if not command.help] == []
    with_json = {
        words
        for words, command in found.items()
        if any("--json" in parameter.opts for parameter in command.params)
    }
    assert found.keys() - with_json <= WITHOUT_JSON
