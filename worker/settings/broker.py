"""How the broker is reached, its certificates included."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from worker.settings.certificates import CertificateFile, refuse_unless
from worker.settings.delays import parse_delay
from worker.settings.environment import FromEnvironment
from worker.settings.kinds import has_scheme

# What RabbitMQ's URI query parameters call the files (rabbitmq.com, "URI Query Parameters").
_URL_FILES = {"ca": "cacertfile", "cert": "certfile", "key": "keyfile"}


def _no_password() -> str:
    return ""


class BrokerSettings(FromEnvironment):
    """What the commands for the broker need.

    The files of TLS come first: `amqp_url` takes them along, as RabbitMQ's own clients have it.
    """

    amqp_ca_file: CertificateFile | None = Field(
        None, description="CA bundle for amqps:// instead of the system's"
    )
    amqp_cert_file: CertificateFile | None = Field(
        None, description="client certificate for amqps://, where the broker asks for one"
    )
    amqp_key_file: Path | None = Field(
        None,
        description="its private key, if AMQP_CERT_FILE does not hold it; without a password",
    )
    amqp_url: Annotated[SecretStr, has_scheme("amqp", "amqps")] = Field(
        description="The broker: amqp://user:password@host:5672/vhost, or amqps://"
    )
    retry_delays: Annotated[tuple[int, ...], NoDecode] = Field(
        (5, 30, 120, 600, 1800), description="waits before each further attempt, one queue each"
    )
    dead_letter_days: int = Field(14, ge=1, le=365, description="how long dead letters are kept")

    @field_validator("amqp_key_file")
    @classmethod
    def _key(cls, path: Path | None, others: ValidationInfo) -> Path | None:
        if "amqp_cert_file" not in others.data:  # it has a problem of its own
            return path
        if certificate := others.data["amqp_cert_file"]:
            what = "the private key of AMQP_CERT_FILE in PEM, without a password"
            # A password would be asked for on the terminal, for ever.
            refuse_unless(lambda tls: tls.load_cert_chain(certificate, path, _no_password), what)
        elif path is not None:
            raise ValueError("needs AMQP_CERT_FILE")
        return path

    @field_validator("amqp_url")
    @classmethod
    def _with_files(cls, url: SecretStr, others: ValidationInfo) -> SecretStr:
        named = {name: others.data.get(f"amqp_{name}_file") for name in _URL_FILES}
        query = "&".join(
            f"{_URL_FILES[name]}={quote(str(path))}" for name, path in named.items() if path
        )
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
