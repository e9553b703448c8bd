"""The URL decides where to go; what it leaves open has an argued default."""

from __future__ import annotations

import pytest

from worker.amqp.broker_errors import InvalidUrl
from worker.amqp.parameters import parameters, place

URL = "amqp://user:secret@rabbit.internal:5673/onboarding"


def test_a_plain_url_gets_our_time_limits() -> None:
    parsed = parameters(URL, "consume")
    assert parsed.heartbeat == 15
    assert parsed.socket_timeout == 5
    assert parsed.stack_timeout == 10
    assert parsed.blocked_connection_timeout is None
    assert parsed.tcp_options == {"TCP_USER_TIMEOUT": 20_000}


def test_what_the_url_says_wins() -> None:
    parsed = parameters(URL + "?heartbeat=60&socket_timeout=2", "consume")
    assert parsed.heartbeat == 60
    assert parsed.socket_timeout == 2


def test_trying_again_is_never_pikas_business() -> None:
    assert parameters(URL + "?connection_attempts=9", "consume").connection_attempts == 1


def test_the_connection_says_who_it_is_and_what_for() -> None:
    name = parameters(URL, "publish").client_properties["connection_name"]
    assert name.startswith("verification-worker publish ")


def test_amqps_is_tls_with_a_verified_certificate() -> None:
    parsed = parameters("amqps://user:secret@rabbit.internal/", "consume")
    assert parsed.port == 5671
    assert parsed.ssl_options.context.check_hostname


@pytest.mark.parametrize(
    ("url", "where"),
    [
        (URL, "rabbit.internal:5673/onboarding"),
        ("amqp://user:secret@rabbit.internal", "rabbit.internal:5672/"),
        ("amqp://user:secret@rabbit.internal/%2F", "rabbit.internal:5672/"),
    ],
)
def test_a_place_shows_neither_user_nor_password(url: str, where: str) -> None:
    assert place(parameters(url, "consume")) == where


@pytest.mark.parametrize(
    "url",
    [
        "amqp://user:sec/ret@rabbit.internal",  # the slash makes the password a port
        "amqp://user@rabbit.internal",
        "http2://user:secret@rabbit.internal",
        URL + "?no_such_setting=1",
        URL + "?heartbeat=soon",
        URL + "?client_properties={",
    ],
)
def test_an_unusable_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(InvalidUrl) as refused:
        parameters(url, "consume")
    assert "sec" not in str(refused.value).replace("second", "")
    assert refused.value.__suppress_context__
