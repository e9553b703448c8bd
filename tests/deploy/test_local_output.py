"""What the local stack says to whoever waits in a terminal of 80 columns, or reads it in a pipe."""

import os
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from demonstration import messages, show
from tests.e2e.harness import CHECKOUT, run_program

RUN = "demo-1891f1"
STORY = [{"message": each["id"], "what happens": each["story"]} for each in messages(RUN)]
WIDEST = {"charged": "unknown", "calls": 1, "error_kind": "invalid_request"}
RESULTS: list[dict[str, object]] = [
    {"request_id": f"{RUN}-no-record", "outcome": "no_record", "name": "张*", **WIDEST}
]
EVENTS: list[dict[str, object]] = [
    {"message": "-unreadable", "outcome": "no_record", "routing key": "default.rejected", **WIDEST}
]


@pytest.mark.parametrize("rows", [STORY, RESULTS, EVENTS], ids=["story", "results", "events"])
@pytest.mark.parametrize("is_terminal", [False, True], ids=["pipe", "terminal"])
def test_the_tables_of_the_demonstration_are_whole_in_80_columns(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rows: list[dict[str, Any]],
    is_terminal: bool,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    show(rows)
    _, heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == " ".join(rows[0]).split()
    assert len(lines) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        assert all(str(cell) in line for cell in row.values())
        assert len(line) <= 80


@pytest.mark.parametrize(("missing", "code"), [("", 0), ("rabbitmq-server psql", 2)])
def test_who_may_not_install_packages_is_told_which_are_missing(
    tmp_path: Path, missing: str, code: int
) -> None:
    """In a checkout that is set up: what is missing is a program's to say, and here made up."""
    for name in ("deploy/local/setup", "deploy/requirements-dev.txt", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, tmp_path / name)
    lock, project = (tmp_path / each for each in ("deploy/requirements-dev.txt", "pyproject.toml"))
    made_of = f"{tmp_path.resolve()}\n".encode() + lock.read_bytes() + project.read_bytes()
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    (tmp_path / ".venv/.setup-stamp").write_text(sha256(made_of).hexdigest())
    for name, said in (("python", missing), ("id", "1000")):
        (programs / name).write_text(f"#!/bin/sh\necho {said}\n")
        (programs / name).chmod(0o755)
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    done = run_program(str(tmp_path / "deploy/local/setup"), environment=path)
    assert (done.returncode, done.stdout) == (code, "")
    assert (f"sudo apt-get install --no-install-recommends {missing}\n" in done.stderr) == bool(
        code
    )
