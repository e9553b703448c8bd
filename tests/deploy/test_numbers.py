"""Numbers in the manifests that follow from numbers in the code: they move together."""

import math
import re
import tomllib
from typing import Any

from tests.deploy.manifests import Manifests, rendered
from tests.e2e.harness import CHECKOUT
from worker.bootstrap import DRAIN_SECONDS
from worker.contract.names import REQUEST_QUEUES
from worker.core.request import Lane
from worker.maintenance.housekeeper import STOP_SECONDS
from worker.settings import Settings
from worker.settings.worker import LIVE_URL
from worker.store.engine import POOL_SIZE

# OPERATING.md on a worker's memory, in MiB: itself, and its messages at the worst.
ITSELF, PEAK = 80, 2
MIB = 1 << 20


def in_force(manifests: Manifests, name: str) -> float:
    """Return a number among the settings: the manifests', or else the default."""
    return float(manifests.settings().get(name.upper(), Settings.model_fields[name].default))


def mebibytes(quantity: str) -> int:
    """Return a quantity of memory such as 512Mi."""
    assert quantity.endswith("Mi"), "the only unit that we use"
    return int(quantity.removesuffix("Mi"))


def test_a_stopping_worker_has_the_time_that_it_may_take(manifests: Manifests) -> None:
    longest = in_force(manifests, "shutdown_grace") + STOP_SECONDS + DRAIN_SECONDS
    assert manifests.pod("worker").spec["terminationGracePeriodSeconds"] == math.ceil(longest)


def test_the_settings_that_manifests_repeat_are_the_defaults(manifests: Manifests) -> None:
    """Written down only because other numbers are computed from them."""
    for name in ("shutdown_grace", "concurrency", "prefetch", "max_message_bytes"):
        assert in_force(manifests, name) == Settings.model_fields[name].default


def test_the_memory_holds_all_messages_at_their_largest(manifests: Manifests) -> None:
    (worker,) = manifests.pod("worker").containers()
    lane = in_force(manifests, "prefetch") * in_force(manifests, "max_message_bytes") / MIB
    messages = lane * len(Lane)
    limit = mebibytes(worker["resources"]["limits"]["memory"])
    assert ITSELF + PEAK * messages <= limit <= 1.2 * (ITSELF + PEAK * messages)


def scaled_object(manifests: Manifests) -> Any:
    return manifests.one("ScaledObject", "verification-worker")


def assumed(manifests: Manifests, name: str) -> float:
    """Return what the computation of the replicas takes for granted."""
    annotations = scaled_object(manifests)["metadata"]["annotations"]
    return float(annotations[f"verification-worker/{name}"])


def calls_per_minute(manifests: Manifests) -> float:
    """Return what one worker calls in a minute, by the assumed latency."""
    seconds = assumed(manifests, "provider-seconds")
    return in_force(manifests, "concurrency") * 60 / seconds


def test_there_are_as_many_workers_as_provider_and_database_can_serve(
    production: Manifests,
) -> None:
    quota = in_force(production, "provider_calls_per_minute")
    assert quota > 0, "without a limit nothing bounds the workers"
    by_provider = math.ceil(quota / calls_per_minute(production))
    free = assumed(production, "database-connections") - assumed(production, "other-connections")
    rollout = production.one("Deployment", "verification-worker")["spec"]["strategy"]
    surge = rollout["rollingUpdate"]["maxSurge"]
    by_database = math.floor(free / POOL_SIZE) - surge
    spec = scaled_object(production)["spec"]
    assert spec["maxReplicaCount"] == min(by_provider, by_database)
    assert 2 <= spec["minReplicaCount"] <= spec["maxReplicaCount"]
    # Or each `kubectl apply` would take the workers back to that number.
    assert "replicas" not in production.one("Deployment", "verification-worker")["spec"]


def test_a_worker_is_added_for_a_minute_of_work(production: Manifests) -> None:
    spec = scaled_object(production)["spec"]
    target = float(spec["advanced"]["scalingModifiers"]["target"])
    assert target == calls_per_minute(production)
    # What a worker holds is counted, too: near it, a busy worker would call for another.
    assert target >= 4 * in_force(production, "prefetch")


def test_both_queues_are_counted_with_what_workers_hold(production: Manifests) -> None:
    triggers = scaled_object(production)["spec"]["triggers"]
    for queue, name, lane in zip(triggers, ("queue", "bulk"), Lane, strict=False):
        assert queue["name"] == name
        assert queue["metadata"]["queueName"] == REQUEST_QUEUES[lane]
        assert queue["metadata"]["protocol"] == "http"
        assert queue["metadata"]["excludeUnacknowledged"] == "false"


def test_parked_workers_get_no_company(production: Manifests) -> None:
    spec = scaled_object(production)["spec"]
    assert {trigger["name"] for trigger in spec["triggers"]} == {"parked", "queue", "bulk"}
    # Where half of the workers are parked, more of them would be parked, too.
    formula = spec["advanced"]["scalingModifiers"]["formula"]
    assert formula == "float(parked >= 0.5 ? 0 : queue + bulk / 10)"


def test_a_rollout_and_a_drain_never_leave_the_queue_alone(manifests: Manifests) -> None:
    rollout = manifests.one("Deployment", "verification-worker")["spec"]["strategy"]
    assert rollout["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    budget = manifests.one("PodDisruptionBudget", "verification-worker")["spec"]
    assert budget["maxUnavailable"] == 1
    assert "minAvailable" not in budget, "with one replica it would block every drain"


def test_the_manifests_run_this_version(manifests: Manifests) -> None:
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    for pod in manifests.pods():
        # Only the provider's stand-in and the console need what their images have beside.
        extra = {"sandbox": "-sandbox", "toolbox": "-console"}.get(pod.component, "")
        expected = f"{version}{extra}"
        for container in pod.containers():
            _, _, tag = container["image"].rpartition("/")[2].partition(":")
            assert re.fullmatch(rf"{re.escape(expected)}(@sha256:[0-9a-f]{{64}})?", tag), pod.owner
            assert "imagePullPolicy" not in container, "a version's image never changes"


def test_only_production_speaks_to_the_provider() -> None:
    settings = {name: rendered(name).settings() for name in ("production", "sandbox")}
    assert {name: one["PROVIDER_MODE"] for name, one in settings.items()} == {
        "production": "live",
        "sandbox": "sandbox",
    }
    assert settings["production"].get("PROVIDER_URL", LIVE_URL) == LIVE_URL
    sandbox = rendered("sandbox")
    (service,) = sandbox.of_kind("Service")
    port = service["spec"]["ports"][0]["port"]
    name = service["metadata"]["name"]
    assert settings["sandbox"]["PROVIDER_URL"] == f"http://{name}:{port}/v1/personal"
