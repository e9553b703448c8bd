"""Files that real people send (`tests/cases`): each is read, or refused in words that help."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests.fakes.messages import ID_CARD, MOBILE, PERSON, deliver, request, spec
from worker.cli.invoice_file import Columns, InvoiceFile, Tally
from worker.cli.mistakes import UserMistake
from worker.cli.request_file import BadLine, GoodLine, RequestFile
from worker.contract.request_v1 import Accepted, RequestReader
from worker.core.checks import CheckPolicy
from worker.core.digests import Digest, Digests

CASES = Path(__file__).parents[2] / "cases"
READER = RequestReader(CheckPolicy(), 1_048_576)
TODAY = date(2026, 11, 28)


def digest(body: bytes) -> Digest:
    """Return what is kept of a request in place of its data."""
    reading = READER.read(deliver(body), TODAY)
    assert isinstance(reading, Accepted), reading
    return Digests(b"k" * 32).of_request(reading.request)[0]


def plain(check_type: int, **person: str) -> bytes:
    asked = spec(check_type, **({"name": "张三", "idCard": ID_CARD} | person))
    return json.dumps(request(personalSpec=asked), ensure_ascii=False).encode()


ROUNDED = "it is rounded, as spreadsheets show long numbers: format the column as text"
ZEROS = "ends in zeros, as spreadsheets leave numbers of more than 15 digits: is it whole?"
CELLS = {
    "csv-sci": f"line 5: idCard must have 17 digits and a check digit; {ROUNDED}",
    "csv-excel0": f"line 6: idCard check digit does not match; idCard {ZEROS}",
    "csv-bank0": f"warning, line 12: bankcard check digit does not match; bankcard {ZEROS}",
    "csv-banksci": f"line 13: bankcard must have 12 to 19 digits; {ROUNDED}",
    "csv-srcCase": "line 14: source must have 1 to 64 of the letters a-z, digits and hyphens",
}


def told(line: GoodLine | BadLine) -> str:
    problems = line.problems if isinstance(line, BadLine) else line.warnings
    kind = "" if isinstance(line, BadLine) else "warning, "
    said = "; ".join(f"{each.field} {each.problem}" for each in problems)
    return f"{kind}line {line.line}: {said}" if problems else ""


def lines_of(name: str, encoding: str = "utf-8-sig") -> list[GoodLine | BadLine]:
    return list(RequestFile(CASES / name, encoding, None, READER).lines())


def test_the_cells_of_spreadsheets_are_read_or_doubted() -> None:
    lines = lines_of("cells.csv")
    assert [each for each in map(told, lines) if each] == list(CELLS.values())
    good = {line.request_id: line.body for line in lines if isinstance(line, GoodLine)}
    assert len(lines) == 16  # blank rows are none
    assert len(good) == 12
    usual = {digest(plain(2)), digest(plain(4, mobile=MOBILE))}
    assert {digest(body) for name, body in good.items() if name != "csv-bank0"} == usual


def test_another_separator_is_taken(tmp_path: Path) -> None:
    (line,) = lines_of("semicolon.csv")
    assert isinstance(line, GoodLine)
    assert digest(line.body) == digest(plain(2))
    text = (CASES / "semicolon.csv").read_text("utf-8-sig")
    headed = text.replace("requestId;checkType;name;idCard", "REQUEST_ID;Check Type;Name;id card")
    for other in (text.replace(";", "\t"), f"sep=;\n{headed}", text.replace("\n", ";;\n")):
        (tmp_path / "other.csv").write_text(other, "utf-8-sig")
        (again,) = RequestFile(tmp_path / "other.csv", "utf-8-sig", None, READER).lines()
        assert isinstance(again, GoodLine)
        assert digest(again.body) == digest(line.body)


@pytest.mark.parametrize(
    ("name", "encoding", "words"),
    [
        ("utf8-nobom.csv", "gb18030", "is UTF-8, and as gb18030 its names would be wrong"),
        ("mixed-gbk-tail.csv", "utf-8-sig", r"line 402 is not UTF-8, and lines before it are"),
        ("mixed-gbk-tail.csv", "ascii", r"line 2 is not ascii: save the file anew"),
        ("semicolon.csv", "klingon", "--encoding: 'klingon' is none"),
    ],
)
def test_a_file_in_another_encoding_is_refused_before_its_first_line(
    name: str, encoding: str, words: str
) -> None:
    with pytest.raises(UserMistake, match=words) as caught:
        next(RequestFile(CASES / name, encoding, None, READER).lines())
    assert PERSON["name"] not in str(caught.value)


def test_an_invoice_that_excel_has_saved_is_read() -> None:
    tally = Tally()
    columns = Columns("requestId", "time", None)
    file = InvoiceFile(CASES / "invoice-excel.csv", "utf-8-sig", columns, None, None)
    times = {line.billed_at for line in file.lines(tally)}
    assert times == {datetime(2026, 11, 28, 1, 5, tzinfo=UTC)}
    assert tally.problems == []
