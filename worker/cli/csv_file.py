"""A CSV file as people's spreadsheets write it: its encoding, its separator, its cells. Streamed.

The whole file is decoded before its first row is given out, so that nothing is done with the rows
of a file that is broken further down. A mistake names the line, never what stands there.
"""

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from worker.cli.mistakes import UserMistake, file_mistakes

# What Excel writes by the machine's region, and what it calls "text".
_SEPARATORS = ",;\t|"
# Excel's own first line, for itself.
_DIRECTIVE = re.compile(r"sep=(.)\s*", re.IGNORECASE)
# A number that a spreadsheet is made to take for text: ="123".
_FORMULA = re.compile(r'="(.*)"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A file with a heading, and the encoding that its user has named."""

    path: Path
    encoding: str

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row that is not blank with the line where it ends, the heading first.

        Cells come without blanks around them and without a spreadsheet's marks for text, and none
        that is empty beyond the heading's last. Raises UserMistake for a file that is no CSV in
        its encoding.
        """
        encoding = self._checked_encoding()
        with (
            file_mistakes(self.path, encoding),
            self.path.open(encoding=encoding, newline="") as stream,
        ):
            separator, before = _separator(stream)
            rows = csv.reader(stream, delimiter=separator, strict=True)
            columns = 0
            try:
                for row in rows:
                    cells = [_cell(text) for text in row]
                    if not any(cells):
                        continue
                    while len(cells) > columns and not cells[-1]:
                        cells.pop()
                    columns = columns or len(cells)
                    yield before + rows.line_num, cells
            except csv.Error as error:
                where = f"{self.path}: line {before + rows.line_num}"
                raise UserMistake(f"{where}: is not CSV ({error})") from None

    def _checked_encoding(self) -> str:
        """Return the encoding in which every line can be read, or raise UserMistake."""
        try:
            name = codecs.lookup(self.encoding).name
            bytes(4).decode(name)  # not every codec is one of texts
        except (LookupError, UnicodeError):
            raise UserMistake(f"--encoding: {self.encoding!r} is none; try gb18030") from None
        if name.startswith(("utf-16", "utf-32")):  # whose line ends are not bytes
            return name
        named_utf8 = name.startswith("utf-8")
        is_utf8, others = True, False  # of the lines so far that are not ASCII
        with file_mistakes(self.path), self.path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                text = line.removeprefix(codecs.BOM_UTF8) if named_utf8 else line
                if text.isascii():
                    continue
                if not _decodes(text, name):
                    raise self._undecodable(number, after_others=others, named_utf8=named_utf8)
                is_utf8, others = is_utf8 and _decodes(text, "utf-8"), True
        if others and is_utf8 and not named_utf8:
            raise UserMistake(
                f"{self.path}: is UTF-8, and as {self.encoding} its names would be wrong: leave out"
                " --encoding"
            )
        return "utf-8-sig" if named_utf8 else name

    def _undecodable(self, number: int, *, after_others: bool, named_utf8: bool) -> UserMistake:
        advice = "name its --encoding, such as gb18030"
        if after_others or not named_utf8:
            advice = "save the file anew in one encoding, as UTF-8 if you can"
        told = "UTF-8" if named_utf8 else self.encoding
        before = ", and lines before it are" if after_others else ""
        return UserMistake(f"{self.path}: line {number} is not {told}{before}: {advice}")


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeError:
        return False
    return True


def _separator(stream: TextIO) -> tuple[str, int]:
    """Return what separates the heading's cells, and how many lines stand before the heading."""
    first = stream.readline()
    if directive := _DIRECTIVE.fullmatch(first):
        return directive[1], 1
    stream.seek(0)
    return max(_SEPARATORS, key=first.count), 0


def _cell(text: str) -> str:
    text = text.strip()
    if formula := _FORMULA.fullmatch(text):
        text = formula[1].strip()
    # Excel's mark for text, and that of the exports of shops and banks.
    return text[1:].strip() if text.startswith(("'", "`")) else text
