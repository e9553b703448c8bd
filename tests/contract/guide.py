"""The publishers' guide, and what of it is not written by hand.

Between `<!-- begin NAME -->` and `<!-- end -->` stands what NAME makes: `magic` the sandbox's
table, `fields` those of each check type, `file PATH` a file under `worker/contract/examples/`.
"""

import re
from collections.abc import Callable

from worker.contract.golden import FOLDER
from worker.core.request import FIELDS_BY_TYPE
from worker.sandbox.magic import magic_table

GUIDE = FOLDER.parent / "README.md"

_PART = re.compile(r"(<!-- begin (\S+)(?: (\S+))? -->\n).*?(<!-- end -->)", re.DOTALL)
_LANGUAGES = {".py": "python", ".sh": "sh", ".js": "js", ".json": "json"}


def filled_in(text: str) -> str:
    """Return the guide with all its parts made again."""
    return _PART.sub(lambda part: f"{part[1]}{_made(part[2], part[3])}{part[4]}", text)


def _made(name: str, argument: str | None) -> str:
    makers: dict[str, Callable[[], str]] = {"magic": _magic, "fields": _fields}
    if name != "file":
        return makers[name]()
    path = FOLDER / str(argument)
    return f"```{_LANGUAGES[path.suffix]}\n{path.read_text()}```\n"


def _magic() -> str:
    rows = [f"| `{number}` | `{name}` | {words} |" for number, name, words in magic_table()]
    return _table("| ID number | behaviour | what the sandbox does |", rows)


def _fields() -> str:
    rows = [
        f"| {int(check_type)} | {', '.join(f'`{field}`' for field in fields)} |"
        for check_type, fields in FIELDS_BY_TYPE.items()
    ]
    return _table("| `checkType` | `personalUser` has exactly |", rows)


def _table(heading: str, rows: list[str]) -> str:
    rule = "|---" * (heading.count("|") - 1) + "|"
    return "\n".join([heading, rule, *rows]) + "\n"
