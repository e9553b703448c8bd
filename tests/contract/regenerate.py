"""Writes what is made from the models again: `.venv/bin/python -m tests.contract.regenerate`.

The files of `worker/contract/published/`, and in the publishers' guide what stands between
`<!-- begin NAME -->` and `<!-- end -->`: `magic` is the sandbox's table, `fields` those of each
check type, `file PATH` a file under `worker/contract/examples/`.
"""

import re
from collections.abc import Callable, Mapping

import orjson

from worker.contract import golden
from worker.contract.schemas import asyncapi, schemas
from worker.core.request import FIELDS_BY_TYPE
from worker.sandbox.magic import magic_table

GUIDE = golden.FOLDER.parent / "README.md"
FOLDER = GUIDE.parent / "published"

_PART = re.compile(r"(<!-- begin (\S+)(?: (\S+))? -->\n).*?(<!-- end -->)", re.DOTALL)
_LANGUAGES = {".py": "python", ".sh": "sh", ".js": "js", ".json": "json"}


def documents() -> Mapping[str, bytes]:
    """Return the bytes of each published file by its name."""
    files = {f"{name}.schema.json": schema for name, schema in schemas().items()}
    form = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    whole = {**files, "asyncapi.json": asyncapi()}
    return {name: orjson.dumps(each, option=form) for name, each in whole.items()}


def filled_in(text: str) -> str:
    """Return the guide with all its parts made again."""
    return _PART.sub(lambda part: f"{part[1]}{_made(part[2], part[3])}{part[4]}", text)


def _made(name: str, argument: str | None) -> str:
    makers: dict[str, Callable[[], str]] = {"magic": _magic, "fields": _fields}
    if name != "file":
        return makers[name]()
    path = golden.FOLDER / str(argument)
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


def main() -> None:
    """Write the files and say their names."""
    for name, content in documents().items():
        (FOLDER / name).write_bytes(content)
        print(f"published/{name}")
    GUIDE.write_text(filled_in(GUIDE.read_text()))
    print(GUIDE.name)


if __name__ == "__main__":
    main()
