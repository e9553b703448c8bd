"""Mistakes in the command `console`: one line each, and exit code 2."""

from __future__ import annotations

import socket
import sys

import pytest

from tests.e2e import in_process
from tests.e2e.harness import SETTINGS


def said(*options: str, **settings: str) -> str:
    done = in_process.run(("console", *options), {**SETTINGS, **settings})
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith("worker.console")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert said() == (
        "verification-worker: the console needs aiohttp and jinja2: "
        "pip install 'verification-worker[console]'"
    )


def test_a_port_that_cannot_be_had_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert said("--port", str(port)).startswith(
            f"verification-worker: cannot listen on 127.0.0.1:{port} ("
        )
    assert "--port: must be at most 65535" in said("--port", "99999")


def test_it_needs_the_key_of_the_digests() -> None:
    assert said(DIGEST_KEY="") == "verification-worker: DIGEST_KEY: is required"
