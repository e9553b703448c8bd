"""No person's number gets out by the log."""

import json
import re
import sys
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.messages import ID_CARD
from worker.core.checks import id_card_check_digit
from worker.telemetry.logs import configure, describe, redact

MASKED = "1****************X"


def redacted(value: object) -> object:
    return redact(None, "info", {"event": "e", "value": value})["value"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (ID_CARD, MASKED),
        (ID_CARD.lower(), MASKED),
        (f"身份证{ID_CARD}不一致", f"身份证{MASKED}不一致"),
        (f'{{"idCard": "{ID_CARD}"}}', f'{{"idCard": "{MASKED}"}}'),
        (f"{ID_CARD},{ID_CARD}", f"{MASKED},{MASKED}"),
        (f"id={ID_CARD}\n", f"id={MASKED}\\n"),
    ],
)
def test_an_id_number_is_masked_inside_any_text(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "110105194912310021",  # a wrong check digit
        "110105184912310020",  # nobody was born in 18xx
        "1" + ID_CARD,  # part of a longer number
        "20260301120000123456",
        "order 123456789012345678",
        "2026-03-01T12:00:00Z",
        ID_CARD[:17],
        "",
        12,
        None,
    ],
)
def test_another_number_and_what_is_no_text_stays_as_it_is(text: object) -> None:
    assert redacted(text) == text


@given(
    st.text(st.characters(exclude_categories=["Nd", "Cs"])),
    st.text(st.characters(exclude_categories=["Nd", "Cs"])),
    st.from_regex(r"[1-9][0-9]{5}(19|20)[0-9]{9}", fullmatch=True),
)
def test_no_id_number_survives_whatever_stands_around_it(
    before: str, after: str, digits: str
) -> None:
    if not digits.isascii():
        return
    number = digits + id_card_check_digit(digits)
    assert number not in str(redacted(before + number + after))


def test_a_log_line_is_json_and_redacted(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    configure("json", "info")
    try:
        log = structlog.get_logger()
        log.info("message.settled", request_id=f"a-{ID_CARD}", calls=1)
        log.debug("unheard")
    finally:
        structlog.reset_defaults()
    (line,) = capfdbinary.readouterr().err.splitlines()
    said = json.loads(line)
    assert (said["event"], said["level"], said["calls"]) == ("message.settled", "info", 1)
    assert said["request_id"] == f"a-{MASKED}"


@pytest.mark.parametrize(
    ("is_terminal", "no_color", "has_colours"),
    [(False, "", False), (True, "", True), (True, "1", False)],
)
def test_a_line_for_people_has_its_facts_in_order_and_colours_on_a_terminal_that_wants_them(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_terminal: bool,
    no_color: str,
    has_colours: bool,
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    configure("console", "info")
    try:
        structlog.get_logger().info("message.settled", request_id=f"a-{ID_CARD}", calls=1)
    finally:
        structlog.reset_defaults()
    line = capfd.readouterr().err
    assert ("\x1b[" in line) == has_colours
    plain = re.sub(r"\x1b\[[0-9]*m", "", line)
    told = rf"\[info   \] message.settled      request_id=a-{re.escape(MASKED)} calls=1\n"
    assert re.fullmatch(rf"[0-9:]{{8}}\.[0-9]{{3}}Z {told}", plain)


def test_an_error_is_described_without_its_words_by_its_last_places() -> None:
    def fall(depth: int) -> None:
        if depth:
            fall(depth - 1)
        raise KeyError(ID_CARD)

    with pytest.raises(KeyError) as caught:
        fall(20)
    said: Any = describe(caught.value)
    assert said["error"] == "KeyError"
    assert ID_CARD not in repr(said)
    assert len(said["where"]) == 8
    assert all(str(place).rpartition(":")[2].isdecimal() for place in said["where"])


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert describe(OSError("no words")) == {"error": "OSError", "where": []}
