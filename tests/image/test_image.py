"""The image does its work as Kubernetes runs it: read-only, as nobody, as process 1."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from local_ports import LOOPBACK, free_ports
from tests.deploy.manifests import rendered
from tests.e2e.harness import DEAD, REQUESTS, Process, SandboxProcess, Stack, request, until
from tests.image.conftest import ARGUMENTS
from tests.image.containers import Container
from tests.image.images import BASE, Image

pytestmark = pytest.mark.timeout(1800)  # packages come from afar, and are compiled: a minute of CPU

MANY = 400
"""How many requests: a second's work, so that the order to stop finds some of them under way."""

LARGEST = 200_000_000
"""What nobody would want to wait for at each rollout; it is half of that today."""


@pytest.fixture
def stack(amqp_url: str, empty_database: str, provider: SandboxProcess) -> Iterator[Stack]:
    """Give an empty vhost and an empty database: the image prepares both."""
    stack = Stack(amqp_url, empty_database, provider)
    yield stack
    stack.close()


def finish(image: Image, settings: dict[str, str], *command: str, entrypoint: bool = True) -> None:
    """Run a command of the image to its end."""
    process = Process(Container(image, settings, *command, entrypoint=entrypoint))
    assert process.ended(600) == 0, process.lines


def is_confined(process: psutil.Process) -> bool:
    """Tell whether it is process 1, nobody's, without a capability, on files that are read-only."""
    here = Path(f"/proc/{process.pid}")
    status = dict(line.split(":\t", 1) for line in (here / "status").read_text().splitlines())
    mounts = [line.split() for line in (here / "mountinfo").read_text().splitlines()]
    (options,) = (each[5] for each in mounts if each[4] == "/")
    owners = {*status["Uid"].split(), *status["Gid"].split(), *status["Groups"].split()}
    return (
        owners == {"10001"}
        and status["NSpid"].split()[-1] == "1"
        and int(status["CapEff"], 16) == 0
        and "ro" in options.split(",")
    )


def test_it_prepares_works_and_ends_in_order_under_load_and_nothing_is_lost(
    image: Image, stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    (nobody,) = free_ports(1)
    traced = stack.environment | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{LOOPBACK}:{nobody}"}
    grace = rendered("production").pod("worker").spec["terminationGracePeriodSeconds"]
    finish(image, stack.environment, "alembic", "upgrade", "head", entrypoint=False)
    finish(image, stack.environment, "topology", "apply")
    stack.collect_events()
    stack.provider.play(latency=0.05)
    stack.publish_many(request(f"r-{number}") for number in range(MANY))

    container = Container(image, traced)
    stack.workers.append(worker := Process(container))
    until(lambda: worker.said('"amqp.consuming"'), 600)
    spent = container.first().cpu_times()
    record_property("the image: CPU seconds until it consumes", f"{spent.user + spent.system:.1f}")
    assert is_confined(container.first())
    assert worker.said("tracing.on")
    until(lambda: stack.depth("collector") > MANY // 8, 600)
    assert worker.stop(grace) == 0
    assert json.loads(worker.lines[-1])["event"] == "worker.stopped"

    stack.workers.append(worker := Process(Container(image, stack.environment)))
    until(lambda: stack.count() == MANY and not stack.unsent(), 600)
    assert worker.stop(grace) == 0
    assert sorted(event["requestId"] for event in stack.events()) == sorted(stack.results())
    assert stack.depth(REQUESTS) == stack.depth(DEAD) == 0
    assert stack.provider.charges()["charges"] == MANY


def test_a_start_compiles_nothing(image: Image) -> None:
    """Who cannot keep bytecode would make it at each start: 1.6 s of CPU."""
    finish(image, {}, "python", "-c", _COMPILED, entrypoint=False)


_COMPILED = """
import pathlib, sys
import worker.bootstrap, worker.cli.app, worker.telemetry.spans; worker.cli.app.application()
found = {name: getattr(module, '__cached__', None) for name, module in sys.modules.items()}
lacking = [name for name, file in found.items() if file and not pathlib.Path(file).exists()]
sys.exit(f'{len(lacking)} modules are not compiled: {lacking[:9]}' if lacking else 0)
"""


def test_it_says_what_it_is_and_how_it_is_run(image: Image) -> None:
    security = rendered("production").pod("worker").spec["securityContext"]
    labels = {
        label.removeprefix("org.opencontainers.image."): value
        for label, value in image.config["Labels"].items()
    }
    assert image.config["User"] == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert image.config["Entrypoint"] == ["verification-worker"], "no shell in between"
    assert image.config["Cmd"] == ["run"]
    assert image.config["StopSignal"] == "SIGTERM"
    assert {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"} <= image.environment.keys()
    assert labels["title"] == "verification-worker"
    assert (labels["version"], labels["revision"]) == (ARGUMENTS["VERSION"], ARGUMENTS["REVISION"])
    assert labels["base.name"] == BASE
    assert "base.digest" in labels


def test_it_holds_the_worker_compiled_and_nothing_that_built_it(
    image: Image, record_property: Callable[[str, object], None]
) -> None:
    (packages,) = (image.root / "opt/worker/lib").glob("python*/site-packages")
    (worker,) = packages.glob("worker/__pycache__/__init__.*.pyc")
    assert f"python:{packages.parent.name.removeprefix('python')}-" in BASE
    assert worker.stat().st_uid == 0, "not the worker's own to change"
    assert not [*packages.glob("pip*"), *packages.glob("hatchling*"), *packages.glob("aiohttp*")]
    assert not [*(image.root / "run").rglob("*"), *(image.root / "build").rglob("*")]
    ours = image.size("opt/worker", "srv/worker")
    whole = image.size("")
    record_property("the image: MB, and MB of it ours", f"{whole / 1e6:.0f}, {ours / 1e6:.0f}")
    assert ours < LARGEST
