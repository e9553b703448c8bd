"""Writes what is made from the models again: `.venv/bin/python -m tests.contract.regenerate`.

The files of `worker/contract/published/`, and in the publishers' guide the table of the sandbox's
ID numbers and the quoted examples.
"""

from collections.abc import Mapping

import orjson

from tests.contract.guide import GUIDE, filled_in
from worker.contract.schemas import asyncapi, schemas

FOLDER = GUIDE.parent / "published"


def documents() -> Mapping[str, bytes]:
    """Return the bytes of each published file by its name."""
    files = {f"{name}.schema.json": schema for name, schema in schemas().items()}
    form = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    whole = {**files, "asyncapi.json": asyncapi()}
    return {name: orjson.dumps(each, option=form) for name, each in whole.items()}


def main() -> None:
    """Write the files and say their names."""
    for name, content in documents().items():
        (FOLDER / name).write_bytes(content)
        print(f"published/{name}")
    GUIDE.write_text(filled_in(GUIDE.read_text()))
    print(GUIDE.name)


if __name__ == "__main__":
    main()
