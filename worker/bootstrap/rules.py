"""What the parts of a worker go by, from its settings."""

from collections.abc import Callable

from worker.amqp.consumer import Intake
from worker.amqp.session import Session
from worker.amqp.topology import bulk_topology, live_topology
from worker.contract.encryption import MessageKeys
from worker.contract.request_v1 import RequestReader
from worker.core.request import Lane, Mode
from worker.core.retry import RetryPolicy
from worker.pipeline.flow import FlowRules
from worker.pipeline.intake import CLAIMS_PER_CALLER, PipelineSize
from worker.provider.config import FREE_TRIES, ProviderConfig
from worker.settings import MessageEncryption, Settings
from worker.store.claiming import LedgerConfig
from worker.store.quota import Quota


def session(settings: Settings, fail: Callable[[], None]) -> Session:
    """Return the way to the broker; `fail` is called when its thread has failed."""
    live = bulk = None
    if settings.topology == "apply":
        live = live_topology(settings.retry_delays, settings.dead_letter_days)
        bulk = bulk_topology(settings.retry_delays)
    intakes = {
        Lane.LIVE: Intake(settings.held_messages, live),
        Lane.BULK: Intake(settings.held_bulk_messages, bulk),
    }
    return Session(settings.amqp_url.get_secret_value(), intakes, lambda _error: fail())


def request_reader(settings: Settings, keys: MessageKeys | None) -> RequestReader:
    """Return what reads requests."""
    required = settings.message_encryption is MessageEncryption.REQUIRED
    return RequestReader(settings.check_policy, settings.max_message_bytes, keys, required=required)


def flow_rules(settings: Settings) -> FlowRules:
    """Return what the flow goes by."""
    timing, doubts = settings.timing, settings.max_in_doubt_calls
    return FlowRules(
        settings.provider_mode,
        RetryPolicy(settings.retry_delays, doubts, settings.give_up_after or None),
        start_within=timing.start_within,
        punctual_within=timing.punctual_within if settings.provider_calls_per_minute else None,
        event_format=settings.event_format,
    )


def pipeline_size(settings: Settings) -> PipelineSize:
    """Return how many callers there are, and how much is claimed for them."""
    return PipelineSize(
        settings.concurrency,
        settings.batch_limit,
        # With a limit, a claimed request has its place in the quota: it must find a free caller.
        claims_per_caller=1 if settings.has_call_limit else CLAIMS_PER_CALLER,
        bulk_share=settings.bulk_share,
    )


def ledger_config(settings: Settings, worker: str) -> LedgerConfig:
    """Return what this worker claims by."""
    quota = Quota(
        settings.provider_calls_per_minute or None,
        settings.daily_call_budget or None,
        settings.timing.start_margin,
        settings.bulk_share,
        settings.bulk_daily_call_budget or None,
    )
    return LedgerConfig(
        worker,
        settings.provider_mode,
        settings.timing.lease_seconds,
        settings.max_in_doubt_calls,
        quota if settings.has_call_limit else None,
        longest_delay=settings.retry_delays[-1],
        reuse_seconds=settings.reuse_results_for or None,
    )


def provider_config(settings: Settings) -> ProviderConfig:
    """Return where and how the provider is called."""
    token, proxy = settings.provider_session_token, settings.provider_proxy
    return ProviderConfig(
        url=settings.provider_url,
        access_key=settings.provider_access_key.get_secret_value(),
        secret_key=settings.provider_secret_key.get_secret_value(),
        session_token=None if token is None else token.get_secret_value(),
        region=settings.provider_region,
        algorithm=settings.provider_algorithm,
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        call_deadline=settings.call_deadline,
        ca_file=None if settings.provider_ca_file is None else str(settings.provider_ca_file),
        proxy=None if proxy is None else proxy.get_secret_value(),
        pool_size=settings.concurrency,
        no_record_pattern=settings.no_record_pattern,
        live=settings.provider_mode is Mode.LIVE,
        # A repeat within the call would be a call that the shared limit knows nothing of.
        free_tries=1 if settings.provider_calls_per_minute else FREE_TRIES,
    )
