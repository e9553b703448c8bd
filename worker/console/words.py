"""Chinese for the English words of the templates, and for the sentences of other rooms.

Codes stay codes (`match`, `in_doubt`): rows, events and logs have them. In `chinese.json`, `words`
are those of the templates, whole; `pieces` are patterns for sentences that others make (a timeline,
what a replay will do, a refusal), replaced one after another.
"""

import re
from functools import cache
from importlib.resources import files

import orjson

LANGUAGES = ("en", "zh")


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
