"""An invoice made of the sandbox's calls, and everything that can be wrong with one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.e2e.harness import COMMAND, ID_CARD, Stack, request, run_program, until

ONCE_IN_DOUBT = "119999194912310435"
NO_RECORD = "119999194912310021"


@pytest.fixture(scope="module")
def ledger(module_stack: Stack) -> dict[str, str]:
    """Have four requests called; return the provider's ids of the charged calls by request."""
    module_stack.publish_many(request(f"inv-{each}") for each in range(3))
    module_stack.publish(request("free", NO_RECORD))
    module_stack.publish(request("doubted", ONCE_IN_DOUBT))
    until(lambda: module_stack.count() == 5)
    calls = module_stack.rows("SELECT * FROM verification_v1.calls")
    named = {each["request_id"]: each["provider_request_id"] for each in calls}
    return {request_id: given for request_id, given in named.items() if given}


# Like an ID number; with the right check digit it would be no id at all.
NUMBER = ID_CARD[:-1] + "1"


def invoice(stack: Stack, path: Path, ids: list[str], heading: str = "requestId,time") -> Path:
    """Write an invoice of these ids, each at the time of its call, or of the last one."""
    calls = stack.rows("SELECT provider_request_id AS id, started_at FROM verification_v1.calls")
    at = {each["id"]: each["started_at"] for each in calls}
    last = max(at.values())
    lines = [f"{each},{at.get(each, last).isoformat()}\n" for each in ids]
    path.write_text(f"{heading}\n{''.join(lines)}")
    return path


def test_an_invoice_that_agrees_is_good_and_every_other_is_told_apart(
    working: Stack, tmp_path: Path, ledger: dict[str, str]
) -> None:
    charged = [ledger[each] for each in ("inv-0", "inv-1", "inv-2", "doubted")]
    today = ["--from", "2020-01-01", "--to", "2100-01-01"]
    done = working.command(
        "reconcile", str(invoice(working, tmp_path / "a.csv", charged)), *today, code=0
    )
    assert "in_doubt_without_id" in done.stdout  # one row: the call whose answer was lost

    wrong = [*charged[1:], charged[2], ledger["free"], "never-heard-of", NUMBER]
    file = str(invoice(working, tmp_path / "b.csv", wrong))
    said = working.document("reconcile", file, *today, code=1)
    counted = {name: said["summary"][name] for name in said["summary"] if said["summary"][name]}
    found = {(each["finding"], each["line"], each["request_id"]) for each in said["findings"]}
    assert found == {
        ("billed_unknown", 7, None),
        ("billed_unknown", 8, None),
        ("billed_free", 6, "free"),
        ("billed_again", 5, "inv-2"),
        ("unbilled", None, "inv-0"),
        ("in_doubt_without_id", None, "doubted"),
    }
    assert (counted["billed_lines"], counted["known_to_the_ledger"]) == (7, 5)
    shown = working.command("reconcile", file, *today, "--limit", "1")
    assert "at most 1 rows of each finding are shown" in shown.stderr
    for output in (str(said), shown.stdout, shown.stderr):
        assert NUMBER not in output


def test_a_wrong_file_is_one_line_that_says_what_to_do(
    working: Stack, tmp_path: Path, ledger: dict[str, str]
) -> None:
    file = invoice(working, tmp_path / "a.csv", list(ledger.values()), "id,when")
    advice = "name one by --column-request-id; there are: id, when"
    assert advice in working.refused("reconcile", str(file))
    named = ("--column-request-id", "id", "--column-time", "when")
    working.document("reconcile", str(file), *named, code=1)  # `free` billed
    for path in (tmp_path / "no.csv", tmp_path):
        assert "cannot be read" in working.refused("reconcile", str(path))


def test_a_large_invoice_takes_no_more_memory_than_a_small_one(
    working: Stack, tmp_path: Path, ledger: dict[str, str]
) -> None:
    def peak(lines: int) -> int:
        """Return the command's peak of resident memory in kB."""
        path = tmp_path / f"{lines}.csv"
        with path.open("w") as stream:
            stream.write("requestId,time\n")
            stream.writelines(f"unknown-{each},2026-11-01T00:00:00Z\n" for each in range(lines))
        measured = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=-3);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        command = [sys.executable, "-c", measured, *COMMAND, "reconcile", str(path), "--json"]
        return int(run_program(*command, environment=working.environment).stdout)

    small, large = peak(5_000), peak(50_000)
    assert large < small + 7_000, f"{small} kB and {large} kB"
