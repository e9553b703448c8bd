"""`message-keys`, and `contract validate` of encrypted messages, as a person uses them."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e import in_process
from tests.e2e.harness import ID_CARD, request
from tests.fakes.keys import encrypted, message_key


def run(*arguments: str, text: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    return in_process.run(arguments, settings, text)


def kids(text: str) -> list[str]:
    return [key["kid"] for key in json.loads(text)["keys"]]


def test_two_keys_made_on_one_day_have_two_names() -> None:
    made = [run("message-keys", "generate") for _ in range(2)]
    first, second = (kids(each.stdout) for each in made)
    assert first != second


def test_a_new_key_goes_first_and_the_file_stays_its_owners(tmp_path: Path) -> None:
    """Also where it is named by a link to it."""
    file, link = tmp_path / "keys.json", tmp_path / "link.json"
    link.symlink_to(file)
    file.write_text(run("message-keys", "generate", "--kid", "old").stdout)
    file.chmod(0o640)
    before = json.loads(file.read_text())["keys"][0]
    done = run("message-keys", "generate", "--kid", "new", "--add-to", str(link))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{link}: 2 keys, first new, then old\n"
    assert kids(file.read_text()) == ["new", "old"]
    assert json.loads(file.read_text())["keys"][1] == before
    assert file.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert {*tmp_path.iterdir()} == {file, link}
    public = run("message-keys", "public", MESSAGE_KEYS_FILE=str(file))
    assert kids(public.stdout) == ["new", "old"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("generate", "--kid", "a b"), "--kid: needs a kid"),
        (("generate", "--add-to", "missing.json"), "--add-to: missing.json: No such file"),
        (("generate", "--add-to", "{empty}"), "is not JSON"),
        (("generate", "--add-to", "{public}"), "key 1 must be a private key"),
        (("generate", "--kid", "taken", "--add-to", "{keys}"), "has a key with this kid"),
        (("public",), "MESSAGE_KEYS: is required"),
    ],
)
def test_a_mistake_is_one_line_and_changes_no_file(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    files = {name: tmp_path / f"{name}.json" for name in ("empty", "public", "keys")}
    files["empty"].touch()
    files["public"].write_text(json.dumps({"keys": [message_key().public()]}))
    files["keys"].write_text(json.dumps({"keys": [message_key(kid="taken").private()]}))
    before = {path: path.read_bytes() for path in files.values()}
    done = run("message-keys", *(each.format(**files) for each in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert words in line
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_encrypted_message_is_checked_where_its_key_is_there(tmp_path: Path) -> None:
    keys = json.dumps({"keys": [message_key().private()]})
    good, wrong = request("r-1"), request("r-2", "110105194912310021")
    bodies = [encrypted(json.dumps(each).encode()).decode() for each in (good, wrong)]
    file = tmp_path / "messages.jsonl"
    file.write_text("\n".join(bodies) + "\n")
    done = run("contract", "validate", str(file), MESSAGE_KEYS=keys)
    assert done.returncode == 1
    assert done.stdout == (
        "message 2: personalSpec.personalUser.idCard: check digit does not match\n"
    )
    done = run("contract", "validate", str(file))
    assert done.returncode == 1
    assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == [
        "body: is encrypted, and there are no MESSAGE_KEYS here to open it"
    ] * 2
    assert ID_CARD not in done.stdout + done.stderr


def test_a_raw_message_is_a_problem_where_encryption_is_required() -> None:
    keys = json.dumps({"keys": [message_key().private()]})
    settings = {"MESSAGE_KEYS": keys, "MESSAGE_ENCRYPTION": "required"}
    done = run("contract", "validate", "-", text=json.dumps(request("r-1")), **settings)
    assert done.returncode == 1
    assert done.stdout.startswith("body: must be encrypted")
