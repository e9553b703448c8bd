"""A variable that is meant as a setting is named; what a machine has anyway never is."""

import pytest

from tests.unit.settings.conftest import Environment
from tests.unit.settings.test_settings import problems
from worker.settings import BrokerSettings, Settings, load

# What programs and people commonly set, of all that looks most like ours.
USUAL = """
HOME PATH PORT HOST TIMEOUT MODE MESSAGE PROVIDER PROVIDER_NAME PROVIDER_ID PROVIDER_HOST
PROVIDER_PORT PROVIDER_TIMEOUT HTTP_PROXY http_proxy HTTPS_PROXY HTTPS_HOST HTTPS_PORT PGHOST
PGCONNECT_TIMEOUT DATABASE_POOL DATABASE_POOL_SIZE DATABASE_HOST DATABASE_PORT DATABASE_NAME
DATABASE_USER DATABASE_PASSWORD DATABASE_URI DATABASE_USERNAME DATABASE_PUBLIC_URL
DATABASE_PRIVATE_URL TEST_DATABASE_URL SQLALCHEMY_DATABASE_URI DB_URL DB_CONNECT_TIMEOUT BROKER_URL
RABBITMQ_URL CLOUDAMQP_URL AMQP_HOST AMQP_PORT AMQP_USER AMQP_PASSWORD AMQP_VHOST AMQP_URI
AMQPS_PORT LOG_FILE LOG_JSON LOGGING_LEVEL OTEL_LOG_LEVEL OTEL_EXPORTER_OTLP_ENDPOINT
KUBERNETES_SERVICE_PORT_HTTPS KUBERNETES_PORT_443_TCP_ADDR ACCESS_KEY SECRET_KEY AWS_ACCESS_KEY_ID
JDCLOUD_SECRET_KEY SECRET_KEY_BASE WEB_CONCURRENCY CONCURRENT_REQUESTS MAX_RETRIES RETRY_COUNT
""".split()


@pytest.mark.parametrize(
    ("variable", "setting"),
    [
        ("PROVIDER_CALLS_PER_MINUT", "PROVIDER_CALLS_PER_MINUTE"),  # one letter is missing
        ("PROVIDER_CALLS_PER_MIN", "PROVIDER_CALLS_PER_MINUTE"),  # some are, of many
        ("DAILY_CALLS_BUDGET", "DAILY_CALL_BUDGET"),  # one is too many
        ("PREFECTH", "PREFETCH"),  # two are exchanged
        ("CONCURRANCY", "CONCURRENCY"),  # one is wrong
        ("AMQPURL", "AMQP_URL"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("MAX_INDOUBT_CALLS", "MAX_IN_DOUBT_CALLS"),
        ("amqp_ulr", "AMQP_URL"),
        ("DATABASE_URL_FIL", "DATABASE_URL_FILE"),
        ("PROVIDER_ACCESS_KEY_ID", "PROVIDER_ACCESS_KEY"),  # as others call theirs
        ("PROVIDER_SECRETKEY_FILE", "PROVIDER_SECRET_KEY_FILE"),
        ("RETRY_DELAY", "RETRY_DELAYS"),
    ],
)
def test_a_near_miss_of_a_setting_is_named_with_it(
    whole: Environment, variable: str, setting: str
) -> None:
    whole.set(**{variable: "1"})
    assert problems() == [f"{variable}: is no setting: rename it to {setting}, or remove it"]
    whole.set(**{variable: ""})  # an empty one is not set
    load(Settings)


def test_near_misses_stand_beside_all_other_problems(env: Environment) -> None:
    env.set(DATABASE_ULR="postgresql://h/d", CONCURENCY="many")
    found = problems()
    assert [each.partition(":")[0] for each in found[:2]] == ["DATABASE_ULR", "CONCURENCY"]
    assert "DATABASE_URL: is required" in found


def test_what_machines_and_other_programs_set_is_no_near_miss(whole: Environment) -> None:
    whole.set(**dict.fromkeys(USUAL, "1"))
    load(Settings)


@pytest.mark.parametrize(
    "service",
    "amqp database digest-key http http-por https log-level provider provider-ur topology".split(),
)
def test_what_kubernetes_sets_for_a_service_is_no_near_miss(
    whole: Environment, service: str
) -> None:
    name, address = service.upper().replace("-", "_"), "tcp://10.0.0.11:5672"
    whole.set(
        **{
            f"{name}_SERVICE_HOST": "10.0.0.11",
            f"{name}_SERVICE_PORT": "5672",
            f"{name}_SERVICE_PORT_AMQP": "5672",
            f"{name}_PORT": address,
            f"{name}_PORT_5672_TCP": address,
            f"{name}_PORT_5672_TCP_PROTO": "tcp",
            f"{name}_PORT_5672_TCP_PORT": "5672",
            f"{name}_PORT_5672_TCP_ADDR": "10.0.0.11",
        }
    )
    assert load(Settings).http_port == 0


def test_a_command_judges_by_its_own_settings_and_knows_all_others(whole: Environment) -> None:
    whole.set(CONCURRENCY="8", CONCURENCY="8")
    load(BrokerSettings)
    whole.set(RETRY_DELAY="5s")
    assert len(problems(BrokerSettings)) == 1
