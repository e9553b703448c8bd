"""All settings of the worker, and what of them a person's commands need."""

import re
from ipaddress import ip_address
from math import inf
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from worker.core.request import Mode
from worker.core.timing import CallTiming
from worker.settings.addresses import check_provider_url, check_proxy_url
from worker.settings.environment import is_service_address
from worker.settings.messages import CheckSettings, EventSettings, MessageSettings
from worker.settings.servers import (
    AgeSettings,
    BrokerSettings,
    DatabaseSettings,
    DigestSettings,
    LimitSettings,
)
from worker.settings.values import CertificateFile, Credential, Duration, Word, is_url

LIVE_URL = "https://cloudauth.jdcloud-api.com/v1/personal"
_LIVE_DOMAIN = "jdcloud-api.com"
# The account that the sandbox knows unless it is told another one.
_SANDBOX_KEY = "SANDBOXACCESSKEY"
# What a stop needs beside its calls: to record the last of them, one statement of milliseconds.
# Confirms have ten seconds of their own after the grace.
_RECORD_SECONDS = 1.0


class Settings(
    AgeSettings,
    EventSettings,
    MessageSettings,
    CheckSettings,
    LimitSettings,
    DigestSettings,
    DatabaseSettings,
    BrokerSettings,
):
    """All settings of the worker; where they are shown the last base class comes first.

    A rule about two settings stands at the later one, which sees those before it that are good: so
    it is named beside all other problems. Defaults are checked, too.
    """

    provider_mode: Mode
    """live or sandbox; stamped on every row and event, never mixed"""
    provider_url: Annotated[str, is_url(check_provider_url)] = LIVE_URL
    """personalAuth, or the sandbox's address"""
    provider_proxy: Annotated[SecretStr | None, is_url(check_proxy_url)] = None
    """HTTP proxy on the way to the provider (CONNECT): http://user:password@host:port"""
    provider_access_key: Credential
    """JD Cloud access key id"""
    provider_secret_key: Credential
    """JD Cloud secret access key"""
    provider_session_token: Credential | None = None
    """token of temporary credentials"""
    provider_region: Word = "jdcloud-api"
    """region in the signature's scope"""
    provider_algorithm: Literal["JDCLOUD2", "JDCLOUD3"] = "JDCLOUD2"
    """JDCLOUD2 or JDCLOUD3 signatures"""
    provider_ca_file: CertificateFile | None = None
    """CA bundle for the provider instead of certifi's"""
    connect_timeout: float = Field(3.0, gt=0, le=60)
    """seconds to connect, TLS included"""
    read_timeout: float = Field(20.0, gt=0, le=300)
    """seconds without a byte"""
    call_deadline: float = Field(25.0, gt=0, le=600)
    """seconds for one whole call"""
    lease_margin: float = Field(10.0, gt=0, le=600)
    """seconds a claim holds beyond two calls: room to record it"""
    no_record_pattern: str = "查无|无记录|库中无"
    """an answer whose code or message matches is no_record"""
    concurrency: int = Field(32, ge=1, le=1024)
    """calls in flight"""
    prefetch: int = Field(256, ge=1, le=65535)
    """unacknowledged messages held at most, of each lane"""
    batch_limit: int = Field(128, ge=1, le=1000)
    """requests in one transaction at most"""
    max_in_doubt_calls: int = Field(1, ge=0, le=10)
    """repeats of a call in doubt; with 0 no call follows one of unknown charge (5xx)"""
    breaker_failures: int = Field(5, ge=1, le=1000)
    """calls that fail in a row before the worker parks"""
    probe_seconds: float = Field(5.0, gt=0, le=120)
    """first wait of a parked worker; it doubles up to 120 s"""
    reuse_results_for: Duration = 0
    """a paid answer is given again to requests of the same data: 24h, 7d; 0 = never"""
    give_up_after: Duration = 86_400
    """a request whose calls fail for free (throttled) fails at this age: 24h, 7d; 0 = never"""
    abandon_after_days: int = Field(30, ge=0)
    """an open request fails at this age; 0 = never"""
    topology: Literal["apply", "check"] = "apply"
    """declare at start, or only check"""
    shutdown_grace: float = Field(40.0, gt=0, le=3600)
    """seconds to finish paid calls after SIGTERM"""
    http_host: str = "::"
    """address of health and metrics; `::` is every one, of IPv4 too"""
    http_port: int = Field(0, ge=0, le=65535)
    """health and metrics; 0 = off"""
    log_format: Literal["auto", "json", "console"] = "auto"
    """json, console, or by the terminal"""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """least level"""

    @field_validator("provider_url")
    @classmethod
    def _fits_the_mode(cls, url: str, others: ValidationInfo) -> str:
        mode = others.data.get("provider_mode")
        host = (urlsplit(url).hostname or "").rstrip(".")
        if mode is Mode.SANDBOX and f".{host}".endswith(f".{_LIVE_DOMAIN}"):
            raise ValueError("must be the sandbox's address where PROVIDER_MODE is sandbox")
        if mode is Mode.LIVE and url.startswith("http:") and not _is_loopback(host):
            raise ValueError(
                "must begin with https:// where PROVIDER_MODE is live, or ID numbers travel in"
                " clear; http:// only to this machine (localhost, 127.0.0.1, [::1])"
            )
        return url

    @field_validator("provider_access_key")
    @classmethod
    def _not_the_sandboxs(cls, key: SecretStr, others: ValidationInfo) -> SecretStr:
        """Refuse the sandbox's account in live mode: its answers would be stamped with it.

        A live PROVIDER_URL may be any gateway's, so here only the account tells the sandbox; what
        it answers in live mode is refused by the provider's client.
        """
        is_live = others.data.get("provider_mode") is Mode.LIVE
        if is_live and key.get_secret_value() == _SANDBOX_KEY:
            raise ValueError("is the sandbox's: PROVIDER_MODE live needs an account of JD Cloud")
        return key

    @field_validator("no_record_pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error.msg}") from None
        return value

    @field_validator("prefetch")
    @classmethod
    def _feeds_all_callers(cls, messages: int, others: ValidationInfo) -> int:
        if messages < others.data.get("concurrency", 0):
            raise ValueError("must not be below CONCURRENCY, or callers never have a request")
        return messages

    @field_validator("http_port", mode="before")
    @classmethod
    def _not_of_a_service(cls, port: object) -> object:
        """Take what Kubernetes sets for a service named `http` as not set."""
        return 0 if is_service_address(port) else port

    @field_validator("abandon_after_days")
    @classmethod
    def _outlives_its_dead_letter(cls, days: int, others: ValidationInfo) -> int:
        if 0 < days <= others.data.get("dead_letter_days", 0):
            raise ValueError("must be above DEAD_LETTER_DAYS: until then a person may replay")
        return days

    @field_validator("shutdown_grace")
    @classmethod
    def _time_for_a_call(cls, seconds: float, others: ValidationInfo) -> float:
        """Demand time for a call that begins just before the order, and for its record."""
        # A wrong one of the two is named by itself.
        call = others.data.get("call_deadline", -inf) + others.data.get("connect_timeout", -inf)
        if seconds < call + _RECORD_SECONDS:
            raise ValueError(
                f"must not be below CALL_DEADLINE + CONNECT_TIMEOUT + {_RECORD_SECONDS:g} s to "
                f"record, or a stop leaves calls in doubt"
            )
        return seconds

    @property
    def has_call_limit(self) -> bool:
        """Whether all workers share a limit of calls, so that a claim takes tokens."""
        budgets = self.daily_call_budget or self.bulk_daily_call_budget
        return bool(self.provider_calls_per_minute or budgets)

    @property
    def held_messages(self) -> int:
        """How many unacknowledged messages of live the worker holds at most.

        Brokers close a channel that holds a message for 30 minutes (`consumer_timeout`): with a
        low limit of calls no more is held than can be called in two minutes.
        """
        limit = self.provider_calls_per_minute
        return min(self.prefetch, 2 * limit) if limit else self.prefetch

    @property
    def held_bulk_messages(self) -> int:
        """How many unacknowledged messages of bulk the worker holds at most.

        As many as of live, or one that is alone would be slower; with a limit of calls, what can be
        called in two minutes where live takes all but BULK_SHARE, and in six seconds without live.
        """
        limit = self.provider_calls_per_minute
        if not limit:
            return self.prefetch
        return min(self.prefetch, max(1, limit * 2 * self.bulk_share // 100, limit // 10))

    @property
    def timing(self) -> CallTiming:
        """The seconds of one call and of its claim."""
        return CallTiming(self.call_deadline, self.connect_timeout, self.lease_margin)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class ToolSettings(BrokerSettings, DatabaseSettings):
    """Broker and database, for commands that look at both."""


class OutboxSettings(ToolSettings, EventSettings):
    """What sends a mode's events."""

    provider_mode: Mode
    """live or sandbox: whose events"""


class RetentionSettings(AgeSettings, DatabaseSettings):
    """What `retention` needs: a database, and no provider."""

    provider_mode: Mode
    """live or sandbox: whose requests"""


class StatusSettings(ToolSettings, LimitSettings):
    """What `status` needs."""


class ConsoleSettings(StatusSettings, DigestSettings, MessageSettings):
    """What `console` needs; MESSAGE_KEYS open encrypted dead letters as well."""


class EraseSettings(ToolSettings, DigestSettings):
    """What `erase` needs beside `MessageSettings`, by which it opens dead letters."""


class SubmitSettings(BrokerSettings, CheckSettings):
    """What `submit` needs for a file of many requests."""
