"""Writes the table of deploy/SETTINGS.md: every setting of a worker, its default, its meaning.

./deploy/local/settings-reference
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from worker.settings import Settings
from worker.settings.environment import is_secret
from worker.settings.values import delay_name

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

FILE = Path(__file__).resolve().parents[1] / "SETTINGS.md"
MARK = "<!-- Below: written by deploy/local/settings-reference from the code. -->"


def reference() -> str:
    """Return the table."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    return "\n".join(["", "| setting | default | meaning |", "|---|---|---|", *rows]) + "\n"


def renewed(page: str) -> str:
    """Return the page with what is below the mark written anew."""
    return page.partition(MARK)[0] + MARK + "\n" + reference()


def _row(name: str, field: FieldInfo) -> str:
    variable = f"`{name.upper()}`" + (f", `{name.upper()}_FILE`" if is_secret(field) else "")
    meaning = (field.description or "").replace("|", "\\|").replace("\n", " ")
    default = _default(name, field).replace("|", "\\|")
    return f"| {variable} | {default} | {meaning} |"


def _default(name: str, field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True) if not field.is_required() else ...
    if value is ...:
        return "required"
    if value is None or value == "" or isinstance(value, SecretStr):
        return "–"
    if name == "retry_delays":
        return ",".join(map(delay_name, value))
    if name == "give_up_after":
        return delay_name(int(value))
    return str(value)


if __name__ == "__main__":
    FILE.write_text(renewed(FILE.read_text(encoding="utf-8")), encoding="utf-8")
