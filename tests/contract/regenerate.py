"""Writes what is made from the models again: `.venv/bin/python -m tests.contract.regenerate`.

The files of `worker/contract/published/`, and in the publishers' guide the table of the sandbox's
ID numbers and the quoted examples.
"""

from __future__ import annotations

from tests.contract.guide import GUIDE, filled_in
from worker.contract.published import FOLDER, documents


def main() -> None:
    """Write the files and say their names."""
    for name, content in documents().items():
        (FOLDER / name).write_bytes(content)
        print(f"published/{name}")
    GUIDE.write_text(filled_in(GUIDE.read_text()))
    print(GUIDE.name)


if __name__ == "__main__":
    main()
