"""Every English word of a template has its Chinese, and nothing else is translated."""

import re
from pathlib import Path

import orjson
import pytest

import worker.console
from worker.console.rendering import sentence, translated

FOLDER = Path(worker.console.__file__).parent
WORDS: dict[str, str] = orjson.loads((FOLDER / "chinese.json").read_bytes())["words"]
ASKED = {
    words
    for template in (FOLDER / "templates").iterdir()
    for _, words in re.findall(r"\bt\((['\"])(.*?)\1[,)]", template.read_text())
}


def test_the_words_of_the_templates_are_translated_and_no_others() -> None:
    assert WORDS.keys() == ASKED


def test_a_translation_has_the_same_places_to_fill() -> None:
    for words, chinese in WORDS.items():
        places = re.findall(r"{(\w+)}", words)
        assert sorted(re.findall(r"{(\w+)}", chinese)) == sorted(places)
        assert "{" not in translated(words, "zh", dict.fromkeys(places, 1))


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("finished: match, charged once; event sent", "已完成: match, 计费 1 次; 事件已发出"),
        ("call 2 in doubt", "第 2 次调用存疑"),
        ("1.0s for call 2 by x.retry.1s", "1.0s，等待第 2 次调用 by x.retry.1s"),
        ("source drop-shop, sandbox", "来源 drop-shop, sandbox"),
    ],
)
def test_a_sentence_is_translated_as_far_as_it_is_known(english: str, chinese: str) -> None:
    assert sentence(english, "zh") == chinese
    assert sentence(english, "en") == english
