"""The queries that README and deploy/DATA.md give people, read from there."""

import re
from pathlib import Path

from psycopg import sql

_CHECKOUT = Path(__file__).resolve().parents[2]
_DIGEST = "\\x" + "9f" * 32


def blocks(heading: str) -> list[str]:
    """Return the SQL blocks below a heading of the guide."""
    guide = (_CHECKOUT / "deploy" / "DATA.md").read_text(encoding="utf-8")
    _, _, after = guide.partition(f"\n## {heading}\n")
    part, _, _ = after.partition("\n## ")
    return re.findall(r"^```sql\n(.*?)^```", part, re.MULTILINE | re.DOTALL)


def queries() -> list[str]:
    """Return each query that people are told to use, in the order of the pages."""
    of_guide = blocks("Questions and their queries") + blocks("Reading what is new")
    return [each.strip().removesuffix(";") for each in of_guide] + _of_readme()


def _of_readme() -> list[str]:
    readme = (_CHECKOUT / "README.md").read_text(encoding="utf-8")
    _, _, after = readme.partition("\n## Results by SQL\n")
    part, _, _ = after.partition("\n## ")
    lines = [line[4:].partition("--")[0] for line in part.splitlines() if line.startswith("    ")]
    statements = [each.strip() for each in "\n".join(lines).replace("\\x…", _DIGEST).split(";")]
    return [each for each in statements if each]


def literal(query: str) -> sql.SQL:
    """Return a query of ours as the driver wants it."""
    return sql.SQL(query)
