"""Files of requests: every line becomes a request or a problem with its place, never its value."""

import json
from pathlib import Path

import pytest

from tests.fakes.messages import BANKCARD, ID_CARD, MOBILE, NAME, request
from worker.cli.mistakes import UserMistake
from worker.cli.request_file import COLUMNS, BadLine, GoodLine, RequestFile
from worker.contract.request_v1 import RequestReader
from worker.core.checks import CheckPolicy

HEADING = ",".join(COLUMNS)
CANARIES = (NAME, ID_CARD, BANKCARD, MOBILE, "110105194912310021")


def lines(
    path: Path, text: str | bytes, *, encoding: str = "utf-8-sig", source: str | None = None
) -> list[GoodLine | BadLine]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    reader = RequestReader(CheckPolicy(), 100_000)
    return list(RequestFile(path, encoding, source, reader).lines())


def problems(found: list[GoodLine | BadLine]) -> list[tuple[int, list[str]]]:
    return [
        (each.line, [f"{one.field} {one.problem}" for one in each.problems])
        for each in found
        if isinstance(each, BadLine)
    ]


def test_a_row_becomes_a_request_and_an_empty_cell_no_field(tmp_path: Path) -> None:
    rows = f"""\ufeff{HEADING}
a-1,2,{NAME},{ID_CARD},,,,
a-2,0,{NAME},{ID_CARD},{BANKCARD},{MOBILE},web,2030-01-01T00:00:00Z

"""
    first, second = lines(tmp_path / "people.csv", rows, source="batch")
    assert isinstance(first, GoodLine)
    assert isinstance(second, GoodLine)
    assert (first.line, first.request_id) == (2, "a-1")
    assert json.loads(first.body) == {
        "requestId": "a-1",
        "source": "batch",
        "personalSpec": {"checkType": 2, "personalUser": {"name": NAME, "idCard": ID_CARD}},
    }
    assert json.loads(second.body)["source"] == "web"
    assert json.loads(second.body)["expiresAt"] == "2030-01-01T00:00:00Z"
    assert set(json.loads(second.body)["personalSpec"]["personalUser"]) == {
        "name",
        "idCard",
        "bankcard",
        "mobile",
    }


def test_a_line_of_json_is_published_as_it_stands(tmp_path: Path) -> None:
    line = json.dumps(request("j-1", source="web", context={"n": 1.10, "big": 2**63}))
    (found,) = lines(tmp_path / "people.jsonl", f"\ufeff {line}\r\n", source="batch")
    assert isinstance(found, GoodLine)
    assert found.body == line.encode()


def test_bad_lines_are_named_by_line_and_field_and_the_others_go_on(tmp_path: Path) -> None:
    rows = f"""{HEADING}
a-1,2,{NAME},110105194912310021,,,,
a-2,2,{NAME},{ID_CARD},,{MOBILE},,
,2,{NAME},{ID_CARD},,,,
a-4,{NAME},{NAME},{ID_CARD},,,,
a-5,2,{NAME}
a-6,2,{NAME},{ID_CARD},,,,tomorrow
{ID_CARD},2,{NAME},{ID_CARD},,,,
a-8,2,{NAME},{ID_CARD},,,,
a-9,{"6" * 20},{NAME},{ID_CARD},,,,
a-10,{"6" * 5000},{NAME},{ID_CARD},,,,
"""
    found = lines(tmp_path / "people.csv", rows)
    said = problems(found)
    assert said == [
        (2, ["idCard check digit does not match"]),
        (3, ["mobile must not be sent for checkType 2"]),
        (4, ["requestId is required"]),
        (5, ["personalSpec.checkType must be a valid integer"]),
        (6, ["line has 3 columns, not 8"]),
        (7, ["expiresAt must be an RFC 3339 time such as 2026-12-01T00:00:00Z"]),
        (8, ["requestId must not contain the person's data"]),
        (10, ["personalSpec.checkType must be a valid integer"]),
        (11, ["personalSpec.checkType must be a valid integer"]),
    ]
    assert [each.line for each in found if isinstance(each, GoodLine)] == [9]
    assert not [each for each in CANARIES if each in str(said)]
    assert not [each for each in CANARIES if each in repr(found)]


WITH_CONTEXT = json.dumps(request("a", context={"order": "%s"})).replace('"%s"', "%s")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line is not JSON in UTF-8"),
        ("[]", "line must be a JSON object"),
        ("{}", "requestId is required"),
        (WITH_CONTEXT % ("[" * 300 + "]" * 300), "body invalid JSON: recursion limit exceeded"),
        (WITH_CONTEXT % 2**64, "context holds a number or a nesting that is too large"),
    ],
)
def test_a_line_that_is_no_request_is_a_problem(tmp_path: Path, line: str, problem: str) -> None:
    good = json.dumps(request("j-1"))
    text = f"{good}\n{line}\n\n{good}\n"
    found = lines(tmp_path / "people.jsonl", text, source="batch")
    ((place, [words]),) = problems(found)
    assert (place, words[: len(problem)]) == (2, problem)
    assert len(found) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"a-1,2,{NAME},{ID_CARD}", "these columns are none: 1, 2, 3, 4"),
        ("requestId,checkType,number", "these columns are none: 3"),
        ("checkType,name,idCard", "must name columns, each once and requestId among them"),
        ("requestId,name,name", "must name columns, each once"),
        ("", "must name columns"),
        (f'{HEADING}\n"a', "is not CSV"),
    ],
)
def test_a_file_that_is_none_is_a_users_mistake_without_its_content(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(UserMistake, match=problem) as caught:
        lines(tmp_path / "people.csv", text)
    assert not [each for each in CANARIES if each in str(caught.value)]


def test_a_spreadsheet_in_gb18030_needs_its_encoding(tmp_path: Path) -> None:
    text = f"{HEADING}\na-1,2,张三,{ID_CARD},,,,\n".encode("gb18030")
    with pytest.raises(UserMistake, match="name its --encoding, such as gb18030"):
        lines(tmp_path / "people.csv", text)
    (found,) = lines(tmp_path / "people.csv", text, encoding="gb18030")
    assert isinstance(found, GoodLine)
    assert json.loads(found.body)["personalSpec"]["personalUser"]["name"] == "张三"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "undefined", "rot13", "zip"])
def test_an_encoding_that_the_file_is_not_in_is_a_users_mistake(
    tmp_path: Path, encoding: str
) -> None:
    for name in ("Zhang", "张三"):
        text = f"{HEADING}\na-1,2,{name},{ID_CARD},,,,\n".encode()
        with pytest.raises(UserMistake, match=r"encoding|columns"):
            lines(tmp_path / "people.csv", text, encoding=encoding)
