"""A person's data is recognised in whatever spelling a vendor's program gives it."""

import hashlib
from base64 import b64encode, urlsafe_b64encode
from html import escape
from urllib.parse import quote

import pytest

from tests.fakes.messages import BANKCARD, ID_CARD, MOBILE, NAME, PERSON
from worker.core.masking import decoded, holds, scrub, without_codes
from worker.core.request import Person, PersonField

SOMEBODY = Person({field: PERSON[field] for field in PersonField})
TWO_CHARACTERS = Person({PersonField.NAME: "张三", PersonField.ID_CARD: ID_CARD})


def digest(name: str, text: str) -> str:
    return hashlib.new(name, text.encode()).hexdigest()


def entities(text: str, form: str) -> str:
    return "".join(f"&#{form.format(ord(each))};" for each in text)


@pytest.mark.parametrize(
    "spelling",
    [
        quote(NAME),
        quote(NAME).lower(),
        quote(quote(NAME)),
        quote(quote(quote(NAME))),
        entities(NAME, "{}"),
        entities(NAME, "x{:x}"),
        entities(NAME, "X{:X}"),
        escape(entities(NAME, "{}")),
        entities(ID_CARD, "{}"),
        "".join(f"%{ord(each):02x}" for each in ID_CARD),
        "".join(chr(ord(each) + 0xFEE0) for each in ID_CARD),
        "".join(chr(ord(each) + 0xFEE0) for each in MOBILE),
        " ".join(NAME),
        "\u3000".join(NAME),
        NAME[1:],  # the given name
        b64encode(NAME.encode()).decode(),
        b64encode(f'{{"name":"{NAME}"}}'.encode()).decode(),
        urlsafe_b64encode(f"?{NAME}?".encode()).decode(),
        "-x" + b64encode(ID_CARD.encode()).decode(),
        NAME.encode().hex(),
        ID_CARD.encode().hex().upper(),
        digest("md5", ID_CARD),
        digest("sha1", ID_CARD.lower()),
        digest("sha256", MOBILE).upper(),
        digest("sha512", BANKCARD),
        b64encode(bytes.fromhex(digest("md5", NAME))).decode(),
    ],
)
def test_a_spelling_of_the_person_is_scrubbed(spelling: str) -> None:
    for text in (spelling, f"before {spelling} after", f'{{"k":"{spelling}"}}'):
        clean = scrub(text, SOMEBODY)
        assert spelling not in clean
        assert "*" in clean
        assert scrub(clean, SOMEBODY) == clean


def test_a_name_of_two_characters_is_recognised_as_a_code() -> None:
    code = b64encode("张三".encode()).decode()
    assert without_codes(f"name: {code}", TWO_CHARACTERS) == "name: ***"


def test_a_given_name_of_one_character_is_an_ordinary_word() -> None:
    assert scrub("三次失败", TWO_CHARACTERS) == "三次失败"


@pytest.mark.parametrize(
    "text",
    [
        "认证通过，100% & more",
        "R&D &#; &amp; %zz %41",
        '{"chargeFlag":"1","orderNumber":"20260301"}',
        "bpkd6d2tqkhgn8gbk0dkgwmiqs0b1pvm",
        "859dfd674ace61194dcef6ee046f21be",
        "RATE_LIMIT_EXCEEDED",
    ],
)
def test_what_is_nobodys_stays_as_it_is(text: str) -> None:
    assert decoded(text) == text
    assert scrub(text, SOMEBODY) == text
    assert not holds(text, SOMEBODY)


def test_an_entity_beyond_all_characters_is_a_blank() -> None:
    assert decoded("a&#x110000;b&#9999999;c") == "a b c"
