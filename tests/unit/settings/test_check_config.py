"""`check-config` says all that is wrong at once, to people and to programs."""

import json

from tests.unit.conftest import Ended
from tests.unit.settings.conftest import SECRETS, Environment


def test_settings_are_a_document_without_secrets(whole: Environment, ended: Ended) -> None:
    whole.set(CONCURRENCY="8")
    code, out, err = ended("check-config --json")
    document = json.loads(out)
    assert (code, document["problems"], err) == (0, [], "")
    settings = {each["name"]: each for each in document["settings"]}
    assert settings["CONCURRENCY"] == {
        "name": "CONCURRENCY",
        "value": "8",
        "is_default": False,
        "meaning": "calls in flight",
    }
    assert (settings["PREFETCH"]["value"], settings["PREFETCH"]["is_default"]) == ("256", True)
    assert settings["PROVIDER_CA_FILE"]["value"] is None
    assert {settings[name]["value"] for name in SECRETS} == {"(hidden)"}
    assert "secret-" not in json.dumps(document)


def test_problems_are_a_list_with_the_exit_code_of_the_words(
    whole: Environment, ended: Ended
) -> None:
    whole.set(CONCURRENCY="0", PREFECTH="8", MESSAGE_KEYS='{"keys": [{"kty": "oct"}]}')
    code, out, err = ended("check-config --json")
    document = json.loads(out)
    assert (code, document["settings"], err) == (2, [], "")
    told_code, out, told = ended("check-config")
    assert (told_code, out) == (2, "")
    assert told.splitlines() == [f"verification-worker: {each}" for each in document["problems"]]
    named = [each.partition(":")[0] for each in document["problems"]]
    assert named == ["PREFECTH", "CONCURRENCY", "MESSAGE_KEYS"]
