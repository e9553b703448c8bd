"""Names, databases and terminals of every encoding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local_process import tied
from tests.e2e.harness import CHECKOUT, COMMAND, DEAD, PATIENCE, Stack, request, until

# The first character of the name is no letter of GBK.
RARE = "𠮷野"


def test_a_rare_name_is_stored_whatever_encoding_the_environment_asks_for(stack: Stack) -> None:
    stack.start_worker(PGCLIENTENCODING="GBK")
    stack.publish(request("rare", name=RARE))
    stack.publish(request("common"))
    until(lambda: stack.count() == 2)
    results = stack.results()
    assert {each["outcome"] for each in results.values()} == {"match"}
    assert results["rare"]["masked_name"] == "𠮷*"


def test_a_database_of_another_encoding_is_refused_in_one_line(
    stack: Stack, chinese_database: str
) -> None:
    stack.environment["DATABASE_URL"] = chinese_database
    worker = stack.launch_worker()
    assert worker.ended() == 2
    (said,) = (line for line in worker.lines if not line.startswith("{"))
    refusals = [stack.refused(*each) for each in (("explain", "onb-1"), ("status",), ("pause",))]
    complaint = "verification-worker: DATABASE_URL: the database's encoding is EUC_CN: "
    assert all(line.startswith(complaint) for line in (said, *refusals))


@pytest.mark.parametrize(
    "terminal",
    [
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "gbk"},
    ],
    ids=["ascii", "gbk"],
)
def test_every_command_prints_on_every_terminal(
    working: Stack, tmp_path: Path, terminal: dict[str, str]
) -> None:
    """All helps, and what shows a text that this terminal lacks; no file is read by its locale."""
    rare = f"𠮷-é-{'-'.join(terminal.values())}"
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request(rare, name=RARE, context={"说": "𠮷"})), encoding="utf-8")
    (people := tmp_path / "people.csv").write_text(
        f"requestId,checkType,name,idCard\n{rare}-2,2,{RARE},11010519491231002X\n",
        encoding="utf-8",
    )
    working.publish(b"no json", message_id=rare)
    until(lambda: working.depth(DEAD) == 1)
    commands: dict[tuple[str, ...], int] = {
        ("check-config",): 0,
        ("submit", str(file)): 0,
        ("submit", str(people)): 0,
        ("explain", rare): 0,
        ("status",): 0,
        ("outbox", "list"): 0,
        ("dead-letters", "list"): 0,
        ("dead-letters", "show", rare): 0,
        ("dead-letters", "drop", "--yes"): 0,
        ("contract",): 0,
        ("contract", "asyncapi"): 0,
        ("contract", "validate", str(file)): 0,
        ("topology", "check"): 0,
        ("sandbox", "--table"): 0,
        ("pause", "--reason", rare): 0,
        ("resume",): 0,
        ("message-keys", "generate"): 0,
        ("explain", "no-such-𠮷"): 1,
        ("explain", "half-\udcff"): 2,
        ("submit", "--check-type", "2", "--name", "\udcff"): 2,
        ("no-such-𠮷",): 2,
    }
    done = subprocess.run(
        tied([sys.executable, "tests/e2e/every_command.py"]),
        env={
            **os.environ,
            **working.environment,
            **terminal,
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONWARNDEFAULTENCODING": "1",
            "PYTHONWARNINGS": "error::EncodingWarning",
        },
        cwd=CHECKOUT,
        input=json.dumps([*commands]).encode(),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    told = done.stderr.decode(errors="replace").splitlines()
    codes = json.loads(told[-1])["codes"]
    assert {words: code for words, code in codes.items() if words.endswith("--help") and code} == {}
    assert {each: codes[" ".join(each)] for each in commands} == commands


def test_a_number_on_standard_input_is_utf8_or_refused(working: Stack) -> None:
    """As files of editors begin: with a byte-order mark; another encoding is named, in one line."""
    for given, code in (("\ufeff11010519491231002X\n".encode(), 0), ("一".encode("gbk"), 2)):
        done = subprocess.run(
            tied([*COMMAND, "digest"]),
            env={**os.environ, **working.environment, "LC_ALL": "C"},
            cwd=CHECKOUT,
            input=given,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stderr.count(b"\n")) == (code, int(code > 0)), done.stderr
