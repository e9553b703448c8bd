"""Templates, how values look in them, and Chinese for English words and sentences.

Codes stay codes (`match`, `in_doubt`): rows, events and logs have them. In `chinese.json`, `words`
are those of the templates, whole; `pieces` are patterns for sentences that others make (a timeline,
what a replay will do, a refusal), replaced one after another.
"""

import re
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from worker.admin.cells import Cell, age, shown

LANGUAGES = ("en", "zh")


def templates() -> Environment:
    """Return our templates: everything in them is escaped, and a value that is missing an error."""
    environment = Environment(
        loader=PackageLoader("worker.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "cell": _cell,
        "instant": lambda moment: f"{moment:%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}",
        "number": lambda count: "?" if count is None else f"{count:,}",
        "ago": age,
        "json": _json,
    }
    return environment


def language(request: web.Request, kept: str | None) -> str:
    """Return the language to answer in: as the link says, or the cookie, or the browser."""
    for wanted in (request.query.get("lang"), kept):
        if wanted in LANGUAGES:
            return wanted
    accepted = request.headers.get("Accept-Language", "").lower().split(",")
    first = next((each for each in accepted if each.strip()[:2] in LANGUAGES), "en")
    return first.strip()[:2]


def _cell(value: Cell) -> str:
    """Return a value as the commands show it, and a time without what every time here has."""
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else shown(value)


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


@cache
def _chinese() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = orjson.loads(
        (files("worker.console") / "chinese.json").read_bytes()
    )
    return found


@cache
def _pieces() -> list[tuple[re.Pattern[str], str]]:
    pieces = _chinese()["pieces"].items()
    return [(re.compile(rf"(?<![\w.-]){piece}(?![\w-])"), words) for piece, words in pieces]


def translated(words: str, lang: str, values: dict[str, object]) -> str:
    """Return a template's words in a language, with its {names} filled in."""
    said = _chinese()["words"][words] if lang == "zh" else words
    return said.format(**values) if values else said


def sentence(words: str, lang: str) -> str:
    """Return a sentence; in Chinese what is known of it, and the rest as it is."""
    for pattern, chinese in _pieces() if lang == "zh" else ():
        words = pattern.sub(chinese, words)
    return words
