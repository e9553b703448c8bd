"""The keys of messages as settings: problems are named, nothing of a key is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.fakes.keys import as_setting, message_key
from worker.contract.encryption import MessageKeys
from worker.settings import MessageEncryption, MessageSettings, SettingsInvalid, is_secret, load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Give an environment in which nothing about messages is set."""
    for name in ("MESSAGE_KEYS", "MESSAGE_KEYS_FILE", "MESSAGE_ENCRYPTION"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def problems() -> list[str]:
    with pytest.raises(SettingsInvalid) as caught:
        MessageKeys.of(load(MessageSettings))
    return caught.value.problems


def kids() -> list[str]:
    keys = MessageKeys.of(load(MessageSettings))
    assert keys is not None
    return keys.kids


def test_by_default_messages_are_taken_raw_and_there_are_no_keys(env: pytest.MonkeyPatch) -> None:
    settings = load(MessageSettings)
    assert settings.message_encryption is MessageEncryption.OPTIONAL
    assert MessageKeys.of(settings) is None


def test_keys_come_from_the_environment_or_a_file(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env.setenv("MESSAGE_KEYS", as_setting("new", "old"))
    assert kids() == ["new", "old"]
    env.delenv("MESSAGE_KEYS")
    (tmp_path / "keys").write_text(as_setting("filed") + "\n")
    env.setenv("MESSAGE_KEYS_FILE", str(tmp_path / "keys"))
    assert kids() == ["filed"]


@pytest.mark.parametrize("keys", ["s3cret", "[]", "{}", '{"keys": {}}', '{"keys"', '"keys"', "7"])
def test_what_is_no_set_of_keys_is_named_with_what_makes_one(
    env: pytest.MonkeyPatch, keys: str
) -> None:
    env.setenv("MESSAGE_KEYS", keys)
    (said,) = problems()
    assert said.startswith("MESSAGE_KEYS: must be a JWK Set in JSON")
    assert "message-keys generate" in said
    assert "s3cret" not in said


def test_each_key_that_cannot_be_used_is_named_by_its_place(env: pytest.MonkeyPatch) -> None:
    secret = message_key().private()
    wrong = [{**secret, "x": "AA"}, secret, {**secret, "kty": "oct"}]
    env.setenv("MESSAGE_KEYS", json.dumps({"keys": wrong}))
    said = problems()
    assert [each.split(" is ")[0].split(" must ")[0] for each in said] == [
        "MESSAGE_KEYS: key 1",
        "MESSAGE_KEYS: key 3",
    ]
    assert secret["d"] not in "".join(said)


def test_encryption_can_only_be_required_where_there_are_keys(env: pytest.MonkeyPatch) -> None:
    env.setenv("MESSAGE_ENCRYPTION", "required")
    assert problems() == ["MESSAGE_ENCRYPTION: needs MESSAGE_KEYS where it is required"]
    env.setenv("MESSAGE_KEYS", "{}")
    assert [each.partition(":")[0] for each in problems()] == ["MESSAGE_KEYS"]
    env.setenv("MESSAGE_KEYS", as_setting())
    assert load(MessageSettings).message_encryption is MessageEncryption.REQUIRED


def test_the_keys_are_never_shown(env: pytest.MonkeyPatch) -> None:
    env.setenv("MESSAGE_KEYS", as_setting())
    settings = load(MessageSettings)
    assert message_key().private()["d"] not in f"{settings!r}{settings}"
    assert is_secret(MessageSettings.model_fields["message_keys"])


def test_another_word_for_how_is_refused(env: pytest.MonkeyPatch) -> None:
    env.setenv("MESSAGE_ENCRYPTION", "always")
    (said,) = problems()
    assert said.startswith("MESSAGE_ENCRYPTION: ")
