"""What may be shown of a person, and what is taken out of foreign texts, in any spelling."""

import hashlib
import re
from base64 import b64encode, urlsafe_b64encode
from html import escape
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.messages import BANKCARD, ID_CARD, MOBILE, NAME, PERSON, PORTRAIT
from worker.core.delivery import Delivery, Publication
from worker.core.digests import Digests
from worker.core.masking import (
    NOBODY,
    TEXT_LIMIT,
    Masked,
    decoded,
    holds,
    mask,
    mask_field,
    scrub,
    without_codes,
)
from worker.core.request import CheckType, Person, PersonField, VerificationRequest

SOMEBODY = Person({field: PERSON[field] for field in PersonField})
TWO_CHARACTERS = Person({PersonField.NAME: "张三", PersonField.ID_CARD: ID_CARD})


def test_values_with_personal_data_do_not_show_it() -> None:
    request = VerificationRequest("r", CheckType.ID_CARD_TWO_FACTOR, SOMEBODY, "s", None, None)
    body = str(PERSON).encode()
    shown = repr((request, Delivery(1, 1, body), Publication("", "q", body), Digests(b"key" * 16)))
    assert not any(value in shown for value in [*PERSON.values(), "keykey"])


@pytest.mark.parametrize(
    ("masked", "shown"),
    [
        (mask_field(PersonField.NAME, "张三"), "张*"),
        (mask_field(PersonField.NAME, "欧阳娜娜"), "欧***"),
        (mask_field(PersonField.ID_CARD, "11010519491231002X"), "1****************X"),
        (mask_field(PersonField.ID_CARD, "AB"), "**"),  # unchecked numbers may be short
        (mask_field(PersonField.ID_CARD, "A"), "*"),
        (mask_field(PersonField.ID_CARD, "ABC"), "A*C"),
        (mask_field(PersonField.BANKCARD, "6222021001116245702"), "***************5702"),
        (mask_field(PersonField.MOBILE, "13312343333"), "133****3333"),
        (mask_field(PersonField.PORTRAIT, "A" * 45_336), "<image 34 kB>"),
    ],
)
def test_a_mask_shows_what_the_design_allows(masked: str, shown: str) -> None:
    assert masked == shown


def test_a_person_is_masked_field_by_field() -> None:
    assert mask(SOMEBODY) == Masked(
        "欧****", "1****************X", "***************5702", "138****8000", "<image 6 kB>"
    )
    assert mask(Person({})) == NOBODY


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("认证通过", "认证通过"),
        (f"{NAME}不一致", "欧****不一致"),
        (f"{ID_CARD}不一致", "1****************X不一致"),
        (f"({ID_CARD.lower()})", "(1****************X)"),
        (f"card {BANKCARD}", "card ***************5702"),
        (f"{MOBILE},{MOBILE}", "138****8000,138****8000"),
        ("somebody else: 44010519491231002X!", "somebody else: ***!"),
        ("13900139000", "***"),
        ("6222 0210 0111 6245 702", "***"),  # as people write cards
        ("139-0013-9000", "***"),
        ("139\u20130013\u20139000", "***"),
        ("110105\u00a019491231\u3000\u200b002X", "***"),
        ("order 2026030112", "order 2026030112"),  # ten digits are nobody's
        ("a\x00b\nc\u2028d\ud800e\x9ff", "a b c d e f"),
        ("139001\x0039000", "***"),  # a control character between the digits hides nothing
        ("139001\n39000", "***"),
        # no piece of an image is left
        *(
            (echo, "<image>")
            for echo in (
                f"image: {PORTRAIT}",
                f"image: {PORTRAIT[:80]}…",
                PORTRAIT,
                PORTRAIT[:400],
                PORTRAIT[1000:1030],
                f"照片 {PORTRAIT[777:900]} 不符",
                " ".join(PORTRAIT[at : at + 4] for at in range(500, 600, 4)),
                "\n".join(PORTRAIT[at : at + 76] for at in range(304, 1000, 76)),
                PORTRAIT[300:400].replace("+", "-").replace("/", "_"),
            )
        ),
        ("字" * 600, "字" * TEXT_LIMIT),
        ("", ""),
    ],
)
def test_a_foreign_text_is_scrubbed(text: str, clean: str) -> None:
    assert scrub(text, SOMEBODY) == clean


def test_a_text_without_a_person_is_scrubbed_of_numbers_all_the_same() -> None:
    assert scrub(f"{ID_CARD}/{MOBILE}", None) == "***/***"


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


@pytest.mark.parametrize("dot", [*"·•・‧.∙⋅⸱．･ \u3000", ""])
def test_a_name_from_another_language_is_scrubbed_whatever_its_dot_is(dot: str) -> None:
    somebody = Person({PersonField.NAME: "阿卜杜拉·买买提"})
    assert scrub(f"姓名阿卜杜拉{dot}买买提不一致", somebody) == "姓名阿*******不一致"
    assert scrub("父名买买提", somebody) == "父名阿*******"
    for masked in (f"*卜杜拉{dot}买买提", f"阿卜杜拉{dot}***"):
        assert not {"卜杜拉", "买买提"} & set(re.findall(r"\w+", scrub(masked, somebody)))
    assert scrub(f"马{dot}丽", Person({PersonField.NAME: "马·丽"})) == "马**"


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


_CHUNKS = st.one_of(
    st.text(max_size=10),
    st.text("0123456789 -Xx", max_size=30),
    st.sampled_from([*PERSON.values(), ID_CARD.lower(), PORTRAIT[:64], "\x00", "\n", "\u2028"]),
)
_FOREIGN = st.lists(_CHUNKS, max_size=8).map("".join)


@given(_FOREIGN)
def test_nothing_of_the_person_and_no_long_number_survives(text: str) -> None:
    clean = scrub(text, SOMEBODY, limit=10_000)
    for value in (*PERSON.values(), ID_CARD.lower(), PORTRAIT[:64]):
        assert value not in clean
    for left in (clean, scrub(text, None, limit=10_000)):
        assert not re.search(r"[0-9](?:[ -]?[0-9]){10}", left)
    assert scrub(clean, SOMEBODY, limit=10_000) == clean


@given(_FOREIGN, st.integers(0, 50))
def test_a_scrubbed_text_is_short_and_printable_in_one_line(text: str, limit: int) -> None:
    clean = scrub(text, SOMEBODY, limit)
    assert len(clean) <= limit
    assert not re.search(r"[\x00-\x1f\x7f\u2028\u2029]", clean)
    clean.encode()  # no half of a character
