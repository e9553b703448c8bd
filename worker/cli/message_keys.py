"""`verification-worker message-keys`: make the keys of encrypted messages, and publish them."""

import os
import secrets
import stat
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer

from worker.cli.mistakes import UserMistake
from worker.cli.tables import counted, note, print_json
from worker.contract.encryption import MessageKeys
from worker.contract.jwk import KeyUnusable, new_key
from worker.settings import MessageSettings, load
from worker.telemetry.clock import SystemClock

message_keys = typer.Typer(
    no_args_is_help=True, help="The keys that publishers encrypt requests to."
)


class KeyType(StrEnum):
    """Kinds of keys, as JWK calls them."""

    EC = "EC"
    OKP = "OKP"
    RSA = "RSA"


@message_keys.command()
def generate(
    kid: Annotated[
        str | None, typer.Option(help="How messages name the key; default: today and two bytes.")
    ] = None,
    key_type: Annotated[
        KeyType,
        typer.Option("--type", help="EC: P-256. OKP: X25519. RSA: 3072 bits, for old libraries."),
    ] = KeyType.EC,
    add_to: Annotated[
        Path | None,
        typer.Option(help="Put it first into this file's keys: the others still open messages."),
    ] = None,
) -> None:
    """Make a private key and print it as MESSAGE_KEYS takes it: a JWK Set, for a file of mode 600.

    With --add-to nothing secret is printed: the file is replaced as a whole, with the new key
    first. Workers need the file before publishers encrypt to its key.
    """
    kid = kid or f"{SystemClock().now():%Y-%m-%d}-{secrets.token_hex(2)}"
    try:
        key = new_key(key_type, kid)
    except KeyUnusable as unusable:
        raise UserMistake(f"--kid: {unusable}") from None
    if add_to is None:
        print_json(MessageKeys(key).private())
        return
    try:
        keys = MessageKeys.read(add_to.read_bytes()).with_first(key)
        _replace(add_to, keys)
    except OSError as error:
        raise UserMistake(f"--add-to: {add_to}: {error.strerror}") from None
    except KeyUnusable as unusable:
        raise UserMistake(f"--add-to: {add_to}: {unusable}") from None
    note(f"{add_to}: {counted(len(keys.kids), 'key')}, first {', then '.join(keys.kids)}")


@message_keys.command()
def public() -> None:
    """Print the public keys of MESSAGE_KEYS as a JWK Set, for publishers; the first is for use."""
    keys = MessageKeys.of(load(MessageSettings))
    if keys is None:
        raise UserMistake("MESSAGE_KEYS: is required, or MESSAGE_KEYS_FILE with a file's name")
    print_json(keys.public())


def _replace(path: Path, keys: MessageKeys) -> None:
    """Write a file that is whole at any moment, for whom it was; raises OSError."""
    content = orjson.dumps(keys.private(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    path = path.resolve()  # a link stays one
    before = path.stat()
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()
