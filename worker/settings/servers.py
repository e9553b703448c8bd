"""How broker and database are reached, and what all users of one database must set alike."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlencode, urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from worker.core.digests import Digests
from worker.settings.addresses import check_amqp_url, check_database_url
from worker.settings.environment import FromEnvironment
from worker.settings.values import CertificateFile, is_url, parse_delay, refuse_unless

# What RabbitMQ's URI query parameters call the files (rabbitmq.com, "URI Query Parameters").
_URL_FILES = {"ca": "cacertfile", "cert": "certfile", "key": "keyfile"}
# Keys of digests are at least so long.
_LEAST = 32


class DeadLetterSettings(FromEnvironment):
    """How long a person may still replay what was given up."""

    dead_letter_days: int = Field(14, ge=1, le=365)
    """how long dead letters are kept"""


class BrokerSettings(DeadLetterSettings):
    """What the commands for the broker need.

    The files of TLS come first: `amqp_url` takes them along, as RabbitMQ's own clients have it.
    """

    amqp_ca_file: CertificateFile | None = None
    """CA bundle for amqps:// instead of the system's"""
    amqp_cert_file: CertificateFile | None = None
    """client certificate for amqps://, where the broker asks for one"""
    amqp_key_file: Path | None = None
    """its private key, if AMQP_CERT_FILE does not hold it; without a password"""
    amqp_url: Annotated[SecretStr, is_url(check_amqp_url)]
    """The broker: amqp://user:password@host:5672/vhost, or amqps://"""
    retry_delays: Annotated[tuple[int, ...], NoDecode] = (5, 30, 120, 600, 1800)
    """waits before each further attempt, one queue each"""

    @field_validator("amqp_key_file")
    @classmethod
    def _key(cls, path: Path | None, others: ValidationInfo) -> Path | None:
        if "amqp_cert_file" not in others.data:  # it has a problem of its own
            return path
        if certificate := others.data["amqp_cert_file"]:
            what = "the private key of AMQP_CERT_FILE in PEM, without a password"
            # A password would be asked for on the terminal, for ever.
            refuse_unless(lambda tls: tls.load_cert_chain(certificate, path, lambda: ""), what)
        elif path is not None:
            raise ValueError("needs AMQP_CERT_FILE")
        return path

    @field_validator("amqp_url")
    @classmethod
    def _with_files(cls, url: SecretStr, others: ValidationInfo) -> SecretStr:
        paths = {param: others.data.get(f"amqp_{name}_file") for name, param in _URL_FILES.items()}
        named = {param: path for param, path in paths.items() if path}
        query = urlencode(named, safe="/", quote_via=quote)
        if not query:
            return url
        text = url.get_secret_value()
        if not text.startswith("amqps://"):
            raise ValueError("must begin with amqps:// where files for TLS are named")
        return SecretStr(f"{text}{'&' if urlsplit(text).query else '?'}{query}")

    @field_validator("retry_delays", mode="before")
    @classmethod
    def _delays(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        delays = tuple(parse_delay(part) for part in value.split(","))
        if list(delays) != sorted(set(delays)):
            raise ValueError("must ascend")
        return delays


class DatabaseSettings(FromEnvironment):
    """What the commands for the database need."""

    database_url: Annotated[SecretStr, is_url(check_database_url)]
    """The database: postgresql://user:password@host:5432/name, or several host:port,host:port"""
    database_pooler: Literal["off", "transaction"] = "off"
    """transaction: DATABASE_URL leads to PgBouncer; off: to the server itself"""

    @property
    def is_pooled(self) -> bool:
        """Whether a session is ours for one transaction only."""
        return self.database_pooler == "transaction"


class DigestSettings(FromEnvironment):
    """What digests ID numbers: the current key, and those that rows may still stand under."""

    digest_key: SecretStr = Field(min_length=_LEAST)
    """secret of at least 32 characters for the subject digests"""
    digest_key_fallbacks: SecretStr | None = None
    """keys of DIGEST_KEY's rotation that rows may stand under, one per line"""

    @field_validator("digest_key_fallbacks")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if any(len(key) < _LEAST for key in _lines(value)):
            raise ValueError(f"must be one key of at least {_LEAST} characters per line")
        return value

    @property
    def digests(self) -> Digests:
        """The digests under all keys, the current one first; a key that is named twice is one.

        0.1.0 took a newline at the end of the variable as part of the key: what was written under
        that key stays known, and what comes now is under the key that a file would give.
        """
        key = self.digest_key.get_secret_value()
        keys = [key.rstrip("\r\n"), key, *_lines(self.digest_key_fallbacks)]
        return Digests(*(each.encode() for each in dict.fromkeys(keys)))


def _lines(secret: SecretStr | None) -> list[str]:
    r"""Return the keys of a list; `\n` at the end of one stands for a newline in the key itself."""
    lines = [] if secret is None else secret.get_secret_value().splitlines()
    return [re.sub(r"\\n$", "\n", line) for line in lines if line.strip()]


class LimitSettings(FromEnvironment):
    """How many calls all workers of one mode may make together."""

    provider_calls_per_minute: int = Field(0, ge=0)
    """calls of all workers in any minute; 0 = no limit"""
    daily_call_budget: int = Field(0, ge=0)
    """calls of all workers in a day of Asia/Shanghai; 0 = no limit"""
    bulk_daily_call_budget: int = Field(0, ge=0)
    """those of them that bulk may use, the rest is kept for live; 0 = no limit of its own"""
    bulk_share: int = Field(10, ge=1, le=90)
    """per cent of callers and calls per minute that bulk gets while live wants all"""


class AgeSettings(DeadLetterSettings):
    """When finished requests are cleared, and when they are deleted."""

    clear_after_days: int = Field(0, ge=0)
    """masked data, digests and contexts are cleared after this; 0 = never"""
    delete_after_days: int = Field(0, ge=0)
    """requests and their calls are deleted after this; 0 = never"""

    @field_validator("delete_after_days")
    @classmethod
    def _deleted_last(cls, days: int, others: ValidationInfo) -> int:
        problems = []
        if 0 < days < others.data.get("clear_after_days", 0):
            problems.append("must not be below CLEAR_AFTER_DAYS")
        if 0 < days <= others.data.get("dead_letter_days", 0):
            problems.append("must be above DEAD_LETTER_DAYS, or a replay would be paid again")
        if problems:
            raise ValueError("\n".join(problems))
        return days
