"""Commands run inside the test: a process each would spend half a second on imports alone."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from unittest.mock import patch

import structlog


def run(
    arguments: tuple[str, ...], environment: Mapping[str, str], text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end as `verification-worker` does, and return what it said.

    `environment` is added to this process's own, as for a child. Its logging ends with it.
    """
    from worker.amqp import dead_letter_queue
    from worker.cli import main

    given, said, told = (_stream(content) for content in (text.encode(), b"", b""))
    code: str | int | None = 0
    logging = structlog.get_config()
    with (
        patch.dict(os.environ, environment),
        patch.multiple(
            sys,
            argv=["verification-worker", *arguments],
            stdin=given,
            stdout=said,
            stderr=told,
        ),
        patch.object(structlog, "configure", _configure_for_one_command),
        # A broker that stands still knows as late that the command before has let go.
        patch.object(dead_letter_queue, "LETTING_GO_SECONDS", 15.0),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            _configure(**logging)
    out, error = (each.buffer.getvalue().decode() for each in (said, told))
    return subprocess.CompletedProcess(arguments, int(code or 0), out, error)


_configure = structlog.configure


def _configure_for_one_command(**settings: object) -> None:
    """Configure it without the cache: it would write to this command's stream for ever."""
    _configure(**{**settings, "cache_logger_on_first_use": False})  # type: ignore[arg-type]


def _stream(content: bytes) -> io.TextIOWrapper[io.BytesIO]:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", write_through=True)
