"""Settings from the environment, all problems reported at once.

A secret `X` may stand in a file instead, named by `X_FILE` (a mounted Kubernetes secret); its
trailing newline is dropped. Nothing is read at import: `load` reads once, at start.
"""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from worker.core.checks import CheckPolicy, IdCardCheck, LuhnCheck
from worker.core.request import Mode, PortraitFields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic.fields import FieldInfo

LIVE_URL = "https://cloudauth.jdcloud-api.com/v1/personal"

_UNITS = {"s": 1, "m": 60, "h": 3600}


class SettingsInvalid(Exception):
    """Some settings are missing or wrong; `problems` names each with what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _has_scheme(*schemes: str) -> AfterValidator:
    def check(url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        try:
            _ = urlsplit(url.get_secret_value()).port
        except ValueError:  # its text quotes the URL, and with it the password
            raise ValueError(
                f"cannot be read as {schemes[0]}://user:password@host:port/name: in user and"
                " password, write %40 for @, %2F for / and %3A for :"
            ) from None
        return url

    return AfterValidator(check)


def _fits_a_header(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]+", secret.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces")
    return secret


Credential = Annotated[SecretStr, AfterValidator(_fits_a_header)]


def parse_delay(text: str) -> int:
    """Return the seconds of `5s`, `2m` or `1h`."""
    number, unit = text.strip()[:-1], text.strip()[-1:]
    if not number.isascii() or not number.isdecimal() or unit not in _UNITS or int(number) == 0:
        raise ValueError("must be delays such as 5s,30s,2m,10m,30m")
    return int(number) * _UNITS[unit]


def delay_name(seconds: int) -> str:
    """Return the name of a delay as queues carry it: the largest unit that divides it."""
    unit = next(unit for unit in ("h", "m", "s") if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


# What RabbitMQ's URI query parameters call the files (rabbitmq.com, "URI Query Parameters").
_URL_FILES = {"ca": "cacertfile", "cert": "certfile", "key": "keyfile"}


def _refuse_unless(loads: Callable[[ssl.SSLContext], None], what: str) -> None:
    """Raise a `ValueError` in words unless a TLS context can load a file."""
    try:
        loads(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except (ssl.SSLError, ValueError):
        raise ValueError(f"is not {what}") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({type(error).__name__})") from None


def _no_password() -> str:
    return ""


Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]


class _FromEnvironment(BaseSettings):
    """Settings whose names in upper case are the variables' names; an empty one is not set."""

    model_config = SettingsConfigDict(
        case_sensitive=False,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, and the files that `X_FILE` variables name."""
        return init_settings, env_settings, _SecretFiles(settings_cls)


class BrokerSettings(_FromEnvironment):
    """What the commands for the broker need.

    The files of TLS come first: `amqp_url` takes them along, as RabbitMQ's own clients have it.
    """

    amqp_ca_file: Path | None = Field(
        None, description="CA bundle for amqps:// instead of the system's"
    )
    amqp_cert_file: Path | None = Field(
        None, description="client certificate for amqps://, where the broker asks for one"
    )
    amqp_key_file: Path | None = Field(
        None,
        validate_default=True,
        description="its private key, if AMQP_CERT_FILE does not hold it; without a password",
    )
    amqp_url: Annotated[SecretStr, _has_scheme("amqp", "amqps")] = Field(
        description="The broker: amqp://user:password@host:5672/vhost, or amqps://"
    )
    retry_delays: Annotated[tuple[int, ...], NoDecode] = Field(
        (5, 30, 120, 600, 1800), description="waits before each further attempt, one queue each"
    )
    dead_letter_days: int = Field(14, ge=1, le=365, description="how long dead letters are kept")

    @field_validator("amqp_ca_file", "amqp_cert_file")
    @classmethod
    def _certificates(cls, path: Path | None) -> Path | None:
        if path is not None:
            _refuse_unless(lambda tls: tls.load_verify_locations(path), "certificates in PEM")
        return path

    @field_validator("amqp_key_file")
    @classmethod
    def _key(cls, path: Path | None, others: ValidationInfo) -> Path | None:
        if "amqp_cert_file" not in others.data:  # it has a problem of its own
            return path
        if certificate := others.data["amqp_cert_file"]:
            what = "the private key of AMQP_CERT_FILE in PEM, without a password"
            # A password would be asked for on the terminal, for ever.
            _refuse_unless(lambda tls: tls.load_cert_chain(certificate, path, _no_password), what)
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


class DigestSettings(_FromEnvironment):
    """What the `digest` command needs."""

    digest_key: SecretStr = Field(
        min_length=32, description="secret of at least 32 characters for the subject digests"
    )


class Settings(BrokerSettings, DigestSettings):
    """All settings of the worker."""

    database_url: Annotated[SecretStr, _has_scheme("postgresql")] = Field(
        description="The database: postgresql://user:password@host:5432/name"
    )
    provider_url: str = Field(
        LIVE_URL, pattern=r"^https?://", description="personalAuth, or the sandbox's address"
    )
    provider_mode: Mode = Field(
        description="live or sandbox; stamped on every row and event, never mixed"
    )
    provider_access_key: Credential = Field(description="JD Cloud access key id")
    provider_secret_key: Credential = Field(description="JD Cloud secret access key")
    provider_session_token: Credential | None = Field(
        None, description="token of temporary credentials"
    )
    provider_region: Word = Field("jdcloud-api", description="region in the signature's scope")
    provider_algorithm: str = Field(
        "JDCLOUD2", pattern=r"^JDCLOUD[23]$", description="JDCLOUD2 or JDCLOUD3 signatures"
    )
    provider_ca_file: Path | None = Field(
        None, description="CA bundle for the provider instead of certifi's"
    )
    connect_timeout: float = Field(3.0, gt=0, le=60, description="seconds to connect, TLS included")
    read_timeout: float = Field(20.0, gt=0, le=300, description="seconds without a byte")
    call_deadline: float = Field(25.0, gt=0, le=600, description="seconds for one whole call")
    lease_margin: float = Field(
        10.0, gt=0, le=600, description="seconds a claim holds beyond two calls: room to record it"
    )
    no_record_pattern: str = Field(
        "查无|无记录|库中无", description="an answer whose code or message matches is no_record"
    )
    concurrency: int = Field(32, ge=1, le=1024, description="calls in flight")
    prefetch: int = Field(256, ge=1, le=65535, description="unacknowledged messages held at most")
    batch_limit: int = Field(128, ge=1, le=1000, description="requests in one transaction at most")
    max_in_doubt_calls: int = Field(
        1, ge=0, le=10, description="repeats of a call that may have been charged"
    )
    provider_calls_per_minute: int = Field(
        0, ge=0, description="calls of all workers in any minute; 0 = no limit"
    )
    daily_call_budget: int = Field(
        0, ge=0, description="calls of all workers in a day of Asia/Shanghai; 0 = no limit"
    )
    breaker_failures: int = Field(
        5, ge=1, le=1000, description="calls that fail in a row before the worker parks"
    )
    probe_seconds: float = Field(
        5.0, gt=0, le=120, description="first wait of a parked worker; it doubles up to 120 s"
    )
    abandon_after_days: int = Field(
        30, ge=0, description="an open request without its message fails after this; 0 = never"
    )
    clear_after_days: int = Field(
        0, ge=0, description="masked data, digests and contexts are cleared after this; 0 = never"
    )
    delete_after_days: int = Field(
        0, ge=0, description="requests and their calls are deleted after this; 0 = never"
    )
    max_message_bytes: int = Field(
        1_048_576, ge=1024, le=134_217_728, description="larger messages are dead-lettered unread"
    )
    topology: str = Field(
        "apply", pattern="^(apply|check)$", description="declare at start, or only check"
    )
    shutdown_grace: float = Field(
        40.0, gt=0, le=3600, description="seconds to finish paid calls after SIGTERM"
    )
    id_card_check: IdCardCheck = Field(IdCardCheck.STRICT, description="strict, format or off")
    luhn_check: LuhnCheck = Field(LuhnCheck.WARN, description="off, warn or reject")
    portrait_fields: PortraitFields = Field(
        PortraitFields.ID_CARD, description="what goes with a portrait: id_card or bank_card"
    )
    portrait_min_bytes: int = Field(5_000, ge=1, description="smallest image, decoded")
    portrait_max_bytes: int = Field(
        150_000, ge=1, le=10_000_000, description="largest image, decoded"
    )
    http_host: str = Field("0.0.0.0", description="address of health and metrics")  # noqa: S104
    http_port: int = Field(0, ge=0, le=65535, description="health and metrics; 0 = off")
    log_format: str = Field(
        "auto", pattern="^(auto|json|console)$", description="json, console, or by the terminal"
    )
    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="least level"
    )

    @field_validator("no_record_pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error.msg}") from None
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        problems = []
        if self.shutdown_grace < self.call_deadline:
            problems.append(
                "SHUTDOWN_GRACE: must not be below CALL_DEADLINE, or a stop leaves calls in doubt"
            )
        if self.provider_mode is Mode.SANDBOX and _host(self.provider_url) == _host(LIVE_URL):
            problems.append(
                "PROVIDER_URL: must be the sandbox's address where PROVIDER_MODE is sandbox"
            )
        if 0 < self.abandon_after_days <= self.dead_letter_days:
            problems.append(
                "ABANDON_AFTER_DAYS: must be above DEAD_LETTER_DAYS: until then a person may replay"
            )
        if 0 < self.delete_after_days < self.clear_after_days:
            problems.append("DELETE_AFTER_DAYS: must not be below CLEAR_AFTER_DAYS")
        if 0 < self.delete_after_days <= self.dead_letter_days:
            problems.append(
                "DELETE_AFTER_DAYS: must be above DEAD_LETTER_DAYS, or a replay would be paid again"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def has_call_limit(self) -> bool:
        """Whether all workers share a limit of calls, so that a claim takes tokens."""
        return bool(self.provider_calls_per_minute or self.daily_call_budget)

    @property
    def held_messages(self) -> int:
        """How many unacknowledged messages the worker holds at most.

        Brokers close a channel that holds a message for 30 minutes (`consumer_timeout`): with a
        low limit of calls no more is held than can be called in two minutes.
        """
        limit = self.provider_calls_per_minute
        return min(self.prefetch, 2 * limit) if limit else self.prefetch

    @property
    def lease_seconds(self) -> float:
        """How long a claim holds: a wait for a free thread, one call, and room to record it.

        A call starts only while a whole deadline is left, so twice the deadline lets a claimed
        request wait for one other call.
        """
        return 2 * (self.call_deadline + self.connect_timeout) + self.lease_margin

    @property
    def check_policy(self) -> CheckPolicy:
        """The strictness of the checks before paying."""
        return CheckPolicy(
            self.id_card_check,
            self.luhn_check,
            self.portrait_fields,
            self.portrait_min_bytes,
            self.portrait_max_bytes,
        )


def _host(url: str) -> str | None:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return None


def is_secret(field: FieldInfo) -> bool:
    """Return whether a setting must never be shown and may come from a file."""
    return "SecretStr" in str(field.annotation)


class _SecretFiles(PydanticBaseSettingsSource):
    def path_of(self, field: FieldInfo, field_name: str) -> str | None:
        """Return the file that is named for a secret; an empty name is none."""
        return os.environ.get(f"{field_name.upper()}_FILE") or None if is_secret(field) else None

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if not (path := self.path_of(field, field_name)):
            return None, field_name, False
        # Editors of other systems put a byte-order mark before it.
        text = Path(path).read_text(encoding="utf-8-sig").rstrip("\r\n")
        return text or None, field_name, False

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            try:
                value, _, _ = self.get_field_value(field, name)
            except (OSError, UnicodeDecodeError):
                continue  # `_unreadable_files` names it
            if value is not None:
                values[name] = value
        return values


def _unreadable_files(kind: type[BaseSettings]) -> dict[str, str]:
    """Return a problem for each secret whose file is named and cannot be read."""
    problems = {}
    source = _SecretFiles(kind)
    for name, field in kind.model_fields.items():
        try:
            value, _, _ = source.get_field_value(field, name)
        except (OSError, UnicodeDecodeError) as error:
            variable = f"{name.upper()}_FILE"
            problems[name.upper()] = f"{variable}: cannot be read ({type(error).__name__})"
        else:
            if value is None and field.is_required() and source.path_of(field, name):
                problems[name.upper()] = f"{name.upper()}_FILE: is empty"
    return problems


AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def load(kind: type[AnySettings]) -> AnySettings:
    """Read the settings; raise `SettingsInvalid` with every problem there is."""
    files = _unreadable_files(kind)
    problems = list(files.values())
    try:
        settings = kind()
    except ValidationError as error:
        # A secret whose file cannot be read is missing for that reason alone.
        problems += [
            problem
            for detail in error.errors()
            for problem in _problems(detail)
            if problem.partition(":")[0] not in files
        ]
    if problems:
        raise SettingsInvalid(problems)
    return settings


def _problems(detail: Mapping[str, Any]) -> list[str]:
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not detail["loc"]:
        return message.splitlines()
    name = str(detail["loc"][0]).upper()
    return [f"{name}: is required" if detail["type"] == "missing" else f"{name}: {message}"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting as `check-config` prints it."""

    name: str
    value: str
    default: bool
    description: str


def show(settings: Settings) -> list[Shown]:
    """Return all settings for people to read, secrets hidden."""
    rows = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if is_secret(field):
            text = "" if value is None else "(hidden)"
        elif name == "retry_delays":
            text = ",".join(delay_name(delay) for delay in value)
        else:
            text = "" if value is None else str(value)
        rows.append(
            Shown(
                name.upper(), text, name not in settings.model_fields_set, field.description or ""
            )
        )
    return rows
