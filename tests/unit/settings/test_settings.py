"""Settings are read once, and whoever sets them learns all that is wrong with them."""

import re
from pathlib import Path

import pytest

from tests.unit.settings.conftest import SECRETS, Environment
from worker.core.digests import Digests
from worker.settings import (
    BrokerSettings,
    DigestSettings,
    Settings,
    SettingsInvalid,
    delay_name,
    load,
    show,
)
from worker.settings.values import parse_delay
from worker.settings.worker import LIVE_URL


def problems(kind: type[BrokerSettings | DigestSettings] = Settings) -> list[str]:
    with pytest.raises(SettingsInvalid) as caught:
        load(kind)
    return caught.value.problems


def test_all_problems_are_named_at_once(env: Environment) -> None:
    env.set(CONCURRENCY="0", AMQP_URL="http://localhost", RETRY_DELAYS="soon")
    found = problems()
    assert "AMQP_URL: must begin with amqp:// or amqps://" in found
    assert "RETRY_DELAYS: must be written as 5s, 2m, 1h or 7d" in found
    assert {each for each in found if each.endswith(": is required")} == {
        f"{name}: is required"
        for name in (
            "DIGEST_KEY",
            "DATABASE_URL",
            "PROVIDER_MODE",
            "PROVIDER_ACCESS_KEY",
            "PROVIDER_SECRET_KEY",
        )
    }
    assert any(each.startswith("CONCURRENCY: ") for each in found)
    assert len(found) == 8


def test_a_command_needs_no_more_than_its_own_settings(env: Environment) -> None:
    env.set(AMQP_URL=SECRETS["AMQP_URL"])
    assert load(BrokerSettings).retry_delays == (5, 30, 120, 600, 1800)
    assert problems(DigestSettings) == ["DIGEST_KEY: is required"]


@pytest.mark.parametrize("text", ["", "5", "s", "0s", "-5s", "5w", "5 s", "1.5h", "٥s", "²s"])
def test_what_is_no_delay_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be written as"):
        parse_delay(text)


@pytest.mark.parametrize(
    ("seconds", "name"),
    [(5, "5s"), (60, "1m"), (90, "90s"), (120, "2m"), (3600, "1h"), (5400, "90m"), (86400, "24h")],
)
def test_a_delay_is_named_by_the_largest_unit_that_divides_it(seconds: int, name: str) -> None:
    assert delay_name(seconds) == name
    assert parse_delay(name) == parse_delay(f" {name} ") == seconds


def test_no_secret_is_shown(whole: Environment) -> None:
    settings = load(Settings)
    shown = {each.name: each.value for each in show(settings)}
    assert set(shown) == {name.upper() for name in Settings.model_fields}
    assert all(shown[name] == "(hidden)" for name in SECRETS)
    everything = f"{shown}{settings!r}{settings}"
    assert "secret-" not in everything
    assert not any(secret in everything for secret in SECRETS.values())


def test_settings_are_shown_as_they_are_set(whole: Environment) -> None:
    whole.set(RETRY_DELAYS="5s,120s", CONCURRENCY="32")
    whole.unset("PROVIDER_SESSION_TOKEN")
    rows = show(load(Settings))
    shown = {each.name: each.value for each in rows}
    assert shown["RETRY_DELAYS"] == "5s,2m"
    assert shown["PROVIDER_SESSION_TOKEN"] is None
    assert (shown["PROVIDER_MODE"], shown["GIVE_UP_AFTER"]) == ("sandbox", "24h")
    assert (shown["CONCURRENCY"], shown["PREFETCH"]) == ("32", "256")
    defaults = {each.name for each in rows if each.is_default}
    assert "PREFETCH" in defaults
    assert not {"CONCURRENCY", "PROVIDER_SESSION_TOKEN", "PROVIDER_MODE"} & defaults
    assert all(each.meaning for each in rows)


@pytest.mark.parametrize(
    "url",
    [
        None,  # the default is the live one
        LIVE_URL,
        LIVE_URL + "/",
        LIVE_URL.replace("https", "http"),
        LIVE_URL.replace("cloudauth", "CloudAuth"),
        LIVE_URL.replace("cloudauth", "cloudauth.cn-north-1"),  # another address of theirs
        LIVE_URL.replace(".com/", ".com:443/"),
    ],
)
def test_the_sandbox_mode_refuses_every_spelling_of_the_live_address(
    whole: Environment, url: str | None
) -> None:
    whole.unset("PROVIDER_URL")
    if url is not None:
        whole.set(PROVIDER_URL=url)
    assert problems() == [
        "PROVIDER_URL: must be the sandbox's address where PROVIDER_MODE is sandbox"
    ]


def test_the_live_mode_takes_the_live_address_by_default(whole: Environment) -> None:
    whole.set(PROVIDER_MODE="live")
    whole.unset("PROVIDER_URL")
    assert load(Settings).provider_url == LIVE_URL


@pytest.mark.parametrize(
    "url",
    [
        LIVE_URL.replace("https", "http"),
        "http://gateway.internal/v1/personal",
        "http://10.0.0.7:8080/v1/personal",
        "http://0.0.0.0/v1/personal",
        "http://127.0.0.1.example.org/v1/personal",
        "http://localhost.example.org/v1/personal",
        "http://[::2]/v1/personal",
    ],
)
def test_the_live_mode_sends_nobodys_number_in_clear(whole: Environment, url: str) -> None:
    whole.set(PROVIDER_MODE="live", PROVIDER_URL=url)
    (problem,) = problems()
    assert problem.startswith("PROVIDER_URL: must begin with https:// where PROVIDER_MODE is live")
    whole.set(PROVIDER_URL=url.replace("http:", "https:"))
    load(Settings)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "[::1]"])
def test_the_live_mode_may_use_http_within_this_machine(whole: Environment, host: str) -> None:
    whole.set(PROVIDER_MODE="live", PROVIDER_URL=f"http://{host}:8080/v1/personal")
    load(Settings)


# until its dead letter is gone a person may replay a request
@pytest.mark.parametrize("name", ["ABANDON_AFTER_DAYS", "DELETE_AFTER_DAYS"])
def test_a_request_outlives_its_dead_letter(whole: Environment, name: str) -> None:
    whole.set(**{name: "14"})
    (problem,) = problems()
    assert problem.startswith(f"{name}: must be above DEAD_LETTER_DAYS")
    whole.set(**{name: "15"})
    load(Settings)


def test_a_low_limit_of_calls_bounds_what_is_held(whole: Environment) -> None:
    whole.set(PROVIDER_CALLS_PER_MINUTE="6")
    settings = load(Settings)
    assert (settings.has_call_limit, settings.held_messages) == (True, 12)
    whole.set(PROVIDER_CALLS_PER_MINUTE="0", DAILY_CALL_BUDGET="9")
    settings = load(Settings)
    assert (settings.has_call_limit, settings.held_messages) == (True, settings.prefetch)


def test_settings_that_do_not_fit_together_are_all_named_beside_those_that_are_wrong(
    whole: Environment,
) -> None:
    whole.unset("PROVIDER_URL")  # the default is the live one
    whole.set(CALL_DEADLINE="41", DEAD_LETTER_DAYS="30", CLEAR_AFTER_DAYS="29", CONCURRENCY="0")
    whole.set(DELETE_AFTER_DAYS="28", LOG_LEVEL="loud")
    found = problems()
    assert [each.partition(":")[0] for each in found] == [
        "DELETE_AFTER_DAYS",
        "DELETE_AFTER_DAYS",
        "PROVIDER_URL",
        "CONCURRENCY",
        "ABANDON_AFTER_DAYS",
        "SHUTDOWN_GRACE",
        "LOG_LEVEL",
    ]


def test_a_setting_that_is_wrong_is_no_reason_to_refuse_another(whole: Environment) -> None:
    whole.set(CALL_DEADLINE="soon", DEAD_LETTER_DAYS="0", PROVIDER_MODE="dry")
    whole.set(PROVIDER_URL=LIVE_URL, DELETE_AFTER_DAYS="1", SHUTDOWN_GRACE="1")
    found = [each.partition(":")[0] for each in problems()]
    assert found == ["DEAD_LETTER_DAYS", "PROVIDER_MODE", "CALL_DEADLINE"]


def test_a_claim_outlasts_a_wait_and_a_call(whole: Environment) -> None:
    settings = load(Settings)
    timing = settings.timing
    assert timing.lease_seconds > 2 * (settings.call_deadline + settings.connect_timeout)
    assert timing.start_within == settings.call_deadline + settings.connect_timeout


def test_the_keys_of_a_rotation_stand_one_per_line(whole: Environment) -> None:
    current, former, oldest = "c" * 32, "f" * 32, "o" * 40
    whole.set(DIGEST_KEY=current, DIGEST_KEY_FALLBACKS=f"{former}\n\n{oldest}\n{current}\n")
    digests = load(Settings).digests
    each = [Digests(key.encode()).key_ids[0] for key in (current, former, oldest)]
    assert list(digests.key_ids) == each


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("30m", 1800), ("24h", 86400), ("7d", 604800)]
)
def test_a_window_of_reuse_is_a_duration(whole: Environment, text: str, seconds: int) -> None:
    whole.set(REUSE_RESULTS_FOR=text)
    settings = load(Settings)
    assert settings.reuse_results_for == seconds
    shown = {each.name: each.value for each in show(settings)}
    assert shown["REUSE_RESULTS_FOR"] == {"7d": "168h"}.get(text, text)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        (
            {"SHUTDOWN_GRACE": 14.9, "CALL_DEADLINE": 11},  # to connect 3 s, to record 1 s
            "must not be below CALL_DEADLINE + CONNECT_TIMEOUT + 1 s",
        ),
        ({"PREFETCH": 31}, "must not be below CONCURRENCY"),
        ({"CONCURRENCY": "many"}, "must be a whole number"),
        ({"CONCURRENCY": "1.5"}, "must be a whole number"),
        ({"CONCURRENCY": 0}, "must be at least 1"),
        ({"CONCURRENCY": 1025}, "must be at most 1024"),
        ({"PROBE_SECONDS": 0}, "must be above 0"),
        ({"PROBE_SECONDS": "soon"}, "must be a number"),
        ({"LOG_LEVEL": "loud"}, "must be debug, info, warning or error"),
        ({"PROVIDER_MODE": "dry"}, "must be live or sandbox"),
        ({"EVENT_FORMAT": "avro"}, "must be plain or cloudevents"),
        (
            {"PROVIDER_ACCESS_KEY": "SANDBOXACCESSKEY", "PROVIDER_MODE": "live"},
            "is the sandbox's: PROVIDER_MODE live needs an account",
        ),
        ({"PROVIDER_REGION": "cn north"}, "must be 1 to 64 letters, digits and hyphens"),
        ({"DIGEST_KEY": "short"}, "must have at least 32 characters"),
        ({"DELETE_AFTER_DAYS": 30, "CLEAR_AFTER_DAYS": 31}, "must not be below CLEAR_AFTER_DAYS"),
        ({"PROVIDER_SECRET_KEY": ""}, "is required"),
        ({"NO_RECORD_PATTERN": "("}, "is no regular expression"),
        ({"RETRY_DELAYS": "30s,5s"}, "must ascend"),
        ({"RETRY_DELAYS": "5s,5s"}, "must ascend"),
        ({"RETRY_DELAYS": "60s,1m"}, "must ascend"),
        # it is named, and not quoted
        (
            {"DIGEST_KEY_FALLBACKS": f"{'f' * 32}\nshort"},
            "must be one key of at least 32 characters",
        ),
        ({"PORTRAIT_MIN_BYTES": 150_001}, "must not be below PORTRAIT_MIN_BYTES"),
        *(
            ({"REUSE_RESULTS_FOR": text}, "must be written as 5s, 2m, 1h or 7d")
            for text in ("24", "a day", "-1h", "1.5h")
        ),
    ],
)
def test_what_does_not_fit_is_named_in_words(
    whole: Environment, variables: dict[str, object], problem: str
) -> None:
    whole.set(**variables)
    (found,) = problems()
    name = "PORTRAIT_MAX_BYTES" if "PORTRAIT_MIN_BYTES" in variables else next(iter(variables))
    assert found.startswith(f"{name}: {problem}")


@pytest.mark.parametrize("value", ["?", "-1", "1e99", "nan", "inf", "9" * 5_000, "ü" * 70])
def test_no_problem_is_said_in_the_words_of_a_library(env: Environment, value: str) -> None:
    for name in Settings.model_fields:
        env.set(**{name.upper(): value})
    for problem in problems():
        assert not re.search("[Ii]nput|valid|String|Value|should|items|is not written", problem)
        assert value in ("?", "inf") or value not in problem


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_a_digest_key_is_the_same_by_variable_and_by_file_and_its_old_rows_stay_known(
    whole: Environment, tmp_path: Path, end: str
) -> None:
    key = SECRETS["DIGEST_KEY"]
    (bare,), (as_it_was,) = (Digests(each.encode()).key_ids for each in (key, key + end))
    whole.set(DIGEST_KEY=key + end)  # 0.1.0 digested with the newline
    assert load(Settings).digests.key_ids == (bare, as_it_was)
    whole.unset("DIGEST_KEY")
    (tmp_path / "key").write_text(key + end, newline="")
    whole.set(DIGEST_KEY_FILE=tmp_path / "key")
    assert load(Settings).digests.key_ids == (bare,)


def test_a_former_key_may_end_in_a_newline(whole: Environment) -> None:
    former = "f" * 32
    whole.set(DIGEST_KEY_FALLBACKS=rf"{former}\n")
    assert load(Settings).digests.key_ids[1:] == Digests(f"{former}\n".encode()).key_ids


def test_an_image_may_be_as_large_as_the_smallest(whole: Environment) -> None:
    whole.set(PORTRAIT_MIN_BYTES=150_001, PORTRAIT_MAX_BYTES=150_001)
    load(Settings)
