"""What people leave running to look: events as they come, and the status again and again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from local_process import tied
from tests.e2e.harness import CHECKOUT, COMMAND, ID_CARD, RESULTS, Stack, request, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MISMATCH = "119999194912310013"


@contextmanager
def followed(stack: Stack, folder: Path, *arguments: str) -> Iterator[tuple[Path, Path]]:
    """Run a command that goes on, give the files of its output and errors; end it by Ctrl-C."""
    out, err = folder / "out", folder / "err"
    with out.open("w") as said, err.open("w") as told:
        running = subprocess.Popen(
            tied([*COMMAND, *arguments]),
            env={**os.environ, **stack.environment},
            cwd=CHECKOUT,
            stdout=said,
            stderr=told,
        )
    try:
        yield out, err
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0, err.read_text()
    finally:
        running.kill()
        running.wait()


def test_a_tail_prints_the_events_that_are_meant_and_nobody_misses_one(
    working: Stack, tmp_path: Path
) -> None:
    with followed(working, tmp_path, "tail", "--outcome", "mismatch", "--json") as (out, err):
        until(lambda: "listening" in err.read_text())
        working.channel.basic_publish(RESULTS, "default.mismatch", b"no event of ours")
        working.publish(request("hit"), reply_to="somebody")
        working.publish(request("miss", MISMATCH, context={"applicant": 42}), reply_to="somebody")
        until(lambda: out.read_text().count("\n") == 1)
        event = json.loads(out.read_text())
    assert (event["requestId"], event["context"]) == ("miss", {"applicant": 42})
    assert "listening" in err.read_text()
    bodies = [body for _, _, body in working.take()]
    collected = {json.loads(body)["requestId"] for body in bodies if body.startswith(b"{")}
    assert collected == {"hit", "miss"}


def test_a_tail_for_people_has_a_line_for_each_event(working: Stack, tmp_path: Path) -> None:
    with followed(working, tmp_path, "tail", "--source", "desk") as (out, err):
        until(lambda: "listening" in err.read_text())
        working.publish(request("elsewhere"))
        working.publish(request("rejected", "1", source="desk"))
        until(lambda: out.read_text().endswith("\n"))
    (line,) = out.read_text().splitlines()
    assert line.split()[1:] == "rejected charged no desk rejected invalid_request".split()
    assert ID_CARD not in line


def test_the_status_is_looked_at_again_and_again(working: Stack, tmp_path: Path) -> None:
    with followed(working, tmp_path, "status", "--watch", "--every", "0.1") as (out, _):
        until(lambda: out.read_text().count("not paused") > 1)
        working.command("pause", "--reason", "a look")
        until(lambda: "PAUSED" in out.read_text())
    assert "\x1b" not in out.read_text()
