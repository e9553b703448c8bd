"""The keys of messages as settings: problems are named, nothing of a key is."""

from pathlib import Path

import pytest

from tests.fakes.keys import as_setting, message_key
from tests.unit.settings.conftest import Environment
from worker.contract.encryption import MessageKeys
from worker.settings import MessageEncryption, MessageSettings, SettingsInvalid, load
from worker.settings.environment import is_secret


def problems() -> list[str]:
    with pytest.raises(SettingsInvalid) as caught:
        MessageKeys.of(load(MessageSettings))
    return caught.value.problems


def kids() -> list[str]:
    keys = MessageKeys.of(load(MessageSettings))
    assert keys is not None
    return keys.kids


def test_by_default_messages_are_taken_raw_and_there_are_no_keys(env: Environment) -> None:
    settings = load(MessageSettings)
    assert settings.message_encryption is MessageEncryption.OPTIONAL
    assert MessageKeys.of(settings) is None


def test_keys_come_from_the_environment_or_a_file(env: Environment, tmp_path: Path) -> None:
    env.set(MESSAGE_KEYS=as_setting("new", "old"))
    assert kids() == ["new", "old"]
    env.unset("MESSAGE_KEYS")
    (tmp_path / "keys").write_text(as_setting("filed") + "\n")
    env.set(MESSAGE_KEYS_FILE=tmp_path / "keys")
    assert kids() == ["filed"]


@pytest.mark.parametrize("keys", ["s3cret", "[]", "{}", '{"keys": {}}', '{"keys"', '"keys"', "7"])
def test_what_is_no_set_of_keys_is_named_with_what_makes_one(env: Environment, keys: str) -> None:
    env.set(MESSAGE_KEYS=keys)
    (said,) = problems()
    assert said.startswith("MESSAGE_KEYS: must be a JWK Set in JSON")
    assert "message-keys generate" in said
    assert "s3cret" not in said


def test_encryption_can_only_be_required_where_there_are_keys(env: Environment) -> None:
    env.set(MESSAGE_ENCRYPTION="always")
    assert [each.partition(":")[0] for each in problems()] == ["MESSAGE_ENCRYPTION"]
    env.set(MESSAGE_ENCRYPTION="required")
    assert problems() == ["MESSAGE_ENCRYPTION: needs MESSAGE_KEYS where it is required"]
    env.set(MESSAGE_KEYS="{}")
    assert [each.partition(":")[0] for each in problems()] == ["MESSAGE_KEYS"]
    env.set(MESSAGE_KEYS=as_setting())
    assert load(MessageSettings).message_encryption is MessageEncryption.REQUIRED


def test_the_keys_are_never_shown(env: Environment) -> None:
    env.set(MESSAGE_KEYS=as_setting())
    settings = load(MessageSettings)
    assert message_key().private()["d"] not in f"{settings!r}{settings}"
    assert is_secret(MessageSettings.model_fields["message_keys"])
