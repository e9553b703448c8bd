"""The results file survives any kill and never takes a file that is something else."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from worker.cli.mistakes import UserMistake
from worker.cli.results_file import ResultsFile


def event(request_id: str, outcome: str = "match", **error: Any) -> dict[str, Any]:
    return {
        "requestId": request_id,
        "outcome": outcome,
        "charged": "yes",
        "error": error or None,
        "authInfo": {"detail": "not for this file"},
    }


def fill(path: Path, *ids: str) -> None:
    with ResultsFile(path) as results:
        for each in ids:
            results.write(event(each))


@pytest.mark.parametrize("name", ["results.csv", "results.jsonl"])
def test_what_is_written_is_known_the_next_time(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with ResultsFile(path) as results:
        results.write(event('a,"1"'))
        results.write(event("a-2", "failed", kind="in_doubt", message="…", fields=[]))
    with ResultsFile(path) as results:
        assert results.outcomes == {'a,"1"': "match", "a-2": "failed"}
        results.write(event("a-3"))
    assert len(path.read_text().splitlines()) == 3 + name.endswith("csv")


def test_a_line_says_why_by_code_and_field(tmp_path: Path) -> None:
    fields = [{"field": "requestId", "problem": "is odd"}]
    with ResultsFile(tmp_path / "a.jsonl") as results:
        results.write(event("a", "rejected", kind="invalid_request", message="…", fields=fields))
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {
        "requestId": "a",
        "outcome": "rejected",
        "charged": "yes",
        "error": "invalid_request: requestId is odd",
    }


@pytest.mark.parametrize("name", ["results.csv", "results.jsonl"])
def test_cut_off_at_any_byte_it_goes_on_with_whole_lines(tmp_path: Path, name: str) -> None:
    whole = tmp_path / name
    fill(whole, "a-1", "a-2", "a-3")
    content = whole.read_bytes()
    for size in range(len(content) + 1):
        torn = tmp_path / f"torn-{name}"
        torn.write_bytes(content[:size])
        with ResultsFile(torn) as results:
            missing = [each for each in ("a-1", "a-2", "a-3") if each not in results.outcomes]
        fill(torn, *missing)
        assert torn.read_bytes() == content


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("people.csv", "requestId,name,idCard\na,b,c\n"),
        ("people.jsonl", '{"requestId": "a"}\n'),
        ("people.jsonl", "[]\n"),
        ("people.csv", "requestId,outcome,charged,error\na,match\n"),
        ("people.csv", ""),
        ("people.jsonl", ""),
    ],
)
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(f"{content}requestId,name")
    with pytest.raises(UserMistake, match="is no result"), ResultsFile(path):
        pass
    assert path.read_text() == f"{content}requestId,name"


def test_the_only_request_of_a_file_without_an_end_of_line_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    content = '{"requestId":"a","personalSpec":{"checkType":2}}'
    path.write_text(content)
    with pytest.raises(UserMistake, match="is no result"), ResultsFile(path):
        pass
    assert path.read_text() == content


def test_a_file_that_a_spreadsheet_has_saved_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    saved = b"\xef\xbb\xbfrequestId,outcome,charged,error\r\na-1,match,yes,\r\n"
    path.write_bytes(saved)
    with ResultsFile(path) as results:
        assert results.outcomes == {"a-1": "match"}
        results.write(event("a-2"))
    assert path.read_bytes() == saved + b"a-2,match,yes,\n"


def test_two_at_once_do_not_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with (
        ResultsFile(path),
        pytest.raises(UserMistake, match="another submit writes to it"),
        ResultsFile(path),
    ):
        pass


@pytest.mark.parametrize("room", [0, 40])
def test_a_full_disk_is_named_and_what_fits_is_cut_off_the_next_time(
    tmp_path: Path, room: int
) -> None:
    path = tmp_path / "results.csv"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))
    try:
        with pytest.raises(UserMistake, match=r"results.csv: cannot be written \(File too large\)"):
            fill(path, "a-1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert len(path.read_bytes()) == room
    fill(path, "a-2")
    with ResultsFile(path) as results:
        assert results.outcomes == {"a-2": "match"}


def test_the_name_says_the_form(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match=r"must end in \.csv or \.jsonl"):
        ResultsFile(tmp_path / "results.txt")
