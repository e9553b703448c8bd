"""Files of many requests: each is paid once, whatever happens to who submits them."""

from __future__ import annotations

import csv
import json
import os
import pty
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from local_process import tied
from tests.bench.soak_load import id_card
from tests.e2e.harness import (
    BULK,
    BULK_REQUESTS,
    COMMAND,
    ID_CARD,
    REQUESTS,
    RESULTS,
    Process,
    Stack,
    request,
    until,
)

COLUMNS = ("requestId", "checkType", "name", "idCard", "bankcard", "mobile", "source", "expiresAt")
NAME, MISMATCH, CONTRADICTORY = "欧阳测试者", "119999194912310013", "119999194912310064"
WRONG = "110105194912310021"


def row(request_id: str, number: str, name: str = NAME, **more: str) -> dict[str, str]:
    return {"requestId": request_id, "checkType": "2", "name": name, "idCard": number, **more}


def write_csv(path: Path, rows: Iterable[dict[str, str]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def results(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def assert_hides(*outputs: str) -> None:
    hidden = (NAME, ID_CARD, MISMATCH, WRONG, CONTRADICTORY)
    assert not [each for output in outputs for each in hidden if each in output]


def test_many_lines_killed_in_the_middle_and_resumed_are_each_paid_once(
    stack: Stack, tmp_path: Path
) -> None:
    rows = [row(f"f-{each}", id_card(each)) for each in range(500)]
    file, kept = write_csv(tmp_path / "people.csv", rows), tmp_path / "results.csv"
    stack.provider.play(latency=0.3)  # twenty seconds' work
    stack.start_worker(CONCURRENCY="8")
    command = ["submit", str(file), "--results", str(kept)]
    killed = Process.start(command, stack.environment)
    until(lambda: kept.exists() and len(kept.read_bytes().splitlines()) > 60)
    killed.kill()
    before = len(results(kept))
    assert 50 < before < 500
    stack.provider.play()
    done = stack.command(*command, code=0)
    assert f"500 match, {before} of them from before" in done.stderr
    found = results(kept)
    assert sorted(each["requestId"] for each in found) == sorted(each["requestId"] for each in rows)
    assert {(each["outcome"], each["charged"], each["error"]) for each in found} == {
        ("match", "yes", "")
    }
    assert stack.count() == stack.count("calls") == stack.provider.charges()["charges"] == 500
    again = stack.command(*command)
    assert (again.returncode, len(results(kept))) == (0, 500)
    assert stack.provider.charges()["calls"] == 500
    assert_hides(done.stderr, done.stdout, kept.read_text(), "\n".join(killed.lines))


def test_a_file_lets_others_pass_unless_it_is_told_to_be_live(stack: Stack, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "people.csv", [row("f-1", ID_CARD), row("f-2", id_card(1))])
    for options, depths in (((), (0, 2)), (("--live",), (2, 2))):
        stack.command("submit", str(file), "--timeout", "0", *options, code=0)
        assert (stack.depth(REQUESTS), stack.depth(BULK_REQUESTS)) == depths
    stack.channel.exchange_delete(BULK)
    refused = stack.command("submit", str(file), "--timeout", "0", code=2)
    assert f"no exchange '{BULK}'" in refused.stderr
    assert "topology apply" in refused.stderr


def test_lines_that_fail_our_checks_are_named_and_the_others_go_on(
    working: Stack, tmp_path: Path
) -> None:
    rows = [
        row("good", ID_CARD),
        row("wrong", WRONG),
        row("good", ID_CARD),
        row("", ID_CARD),
        row("no-match", MISMATCH, source="batch"),
    ]
    file, kept = write_csv(tmp_path / "people.csv", rows), tmp_path / "results.jsonl"
    done = working.command("submit", str(file), "--results", str(kept), "--source", "desk", code=1)
    assert done.stderr.splitlines() == [
        "line 3: idCard check digit does not match",
        "line 4: requestId stands in an earlier line",
        "line 5: requestId is required",
        "1 match, 1 mismatch, 3 lines not sent",
    ]
    assert done.stdout == ""
    assert {each["requestId"]: each["outcome"] for each in results(kept)} == {
        "good": "match",
        "no-match": "mismatch",
    }
    found = working.results()
    assert (found["good"]["source"], found["no-match"]["source"]) == ("desk", "batch")
    assert_hides(done.stderr, kept.read_text())


def test_lines_of_json_come_out_as_lines_and_a_failure_is_told(
    working: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "people.jsonl"
    requests = [request("line", name=NAME), request("fails", CONTRADICTORY, NAME)]
    file.write_text("".join(f"{json.dumps(each)}\n" for each in requests))
    done = working.command("submit", str(file), code=1)
    found = {each["requestId"]: each for each in map(json.loads, done.stdout.splitlines())}
    line = {"requestId": "line", "outcome": "match", "charged": "yes", "error": None}
    assert found["line"] == line
    assert (found["fails"]["outcome"], found["fails"]["error"]) == ("failed", "protocol_error")
    assert_hides(done.stdout, done.stderr)


def test_without_a_worker_it_gives_up_in_time_and_the_next_run_has_the_results(
    stack: Stack, tmp_path: Path
) -> None:
    rows = [row(f"f-{each}", id_card(each)) for each in range(100)]
    file, kept = write_csv(tmp_path / "people.csv", rows), tmp_path / "results.csv"
    command = ["submit", str(file), "--results", str(kept), "--timeout"]
    done = stack.command(*command, "8")  # after the last confirm
    assert (done.returncode, results(kept)) == (1, [])
    assert "100 without a result yet: run the same again" in done.stderr
    only_published = stack.command("submit", str(file), "--timeout", "0")
    assert (only_published.returncode, only_published.stdout) == (0, "")
    assert stack.depth(BULK_REQUESTS) == 200
    stack.start_worker()
    stack.command(*command, "120", code=0)
    assert len(results(kept)) == 100
    assert stack.provider.charges()["charges"] == 100


def test_a_broker_that_lacks_its_exchange_is_one_line(stack: Stack, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "people.csv", [row("good", ID_CARD)])
    stack.channel.exchange_delete(RESULTS)
    advice = "run `verification-worker topology apply` first"
    assert advice in stack.refused("submit", str(file))
    stack.environment["AMQP_URL"] = "amqp://127.0.0.1:1/"
    assert "AMQP_URL: the broker does not answer" in stack.refused("submit", str(file))
    assert "cannot be read" in stack.refused("submit", str(tmp_path / "none.csv"))


def test_a_warning_is_shown_before_anything_is_paid_and_yes_goes_on(
    working: Stack, tmp_path: Path
) -> None:
    cut = row("cut", ID_CARD, checkType="1", bankcard="6222021012345670000")
    file = write_csv(tmp_path / "people.csv", [row("before", ID_CARD), cut])
    before = working.provider.charges()["calls"]
    done = working.command("submit", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    first, last = done.stderr.splitlines()
    assert first.startswith(
        "line 3: warning: bankcard check digit does not match; bankcard ends in"
    )
    assert last.endswith(
        "nothing is published: 1 line with a warning; look at them, then give --yes"
    )
    assert working.provider.charges()["calls"] == before
    done = working.command("submit", str(file), "--yes")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    assert working.provider.charges()["calls"] == before + 2


def test_on_a_terminal_there_is_a_bar(working: Stack, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "people.csv", [row("bar", ID_CARD), row("wrong", WRONG)])
    ours, theirs = pty.openpty()
    output = b""
    with subprocess.Popen(
        tied([*COMMAND, "submit", str(file)]),
        env={**os.environ, **working.environment, "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as running:
        os.close(theirs)
        with suppress(OSError):  # nobody has the other side open any more
            while piece := os.read(ours, 65_536):  # a bar that is drawn often fills a terminal
                output += piece
    os.close(ours)
    said = output.decode()
    assert running.returncode == 1
    assert "2/2" in said
    assert "line 3: idCard check digit does not match" in said
    assert_hides(said)
