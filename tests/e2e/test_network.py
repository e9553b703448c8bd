"""The worker behind a proxy, over IPv6, and what it says where no call can be sent."""

from __future__ import annotations

import json
import os
import re
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from local_ports import LOOPBACK, free_ports, is_taken
from local_process import Process, Workspace
from local_programs import program
from tests.chaos.certificates import Certificates
from tests.chaos.proxy import Proxy
from tests.e2e.harness import Stack, free_port, request, until
from tests.unit.sandbox.caller import RunningSandbox

LOGIN, PASSWORD = "alice", "PasswordOfTheProxy"


@contextmanager
def tinyproxy(allowed: int) -> Iterator[tuple[int, Process]]:
    """Run Debian's tinyproxy, which opens tunnels to one port for who knows the password."""
    (port,) = free_ports(1)
    with closing(Workspace("tinyproxy")) as workspace:
        settings = workspace.directory / "tinyproxy.conf"
        settings.write_text(
            f"Port {port}\nListen {LOOPBACK}\nTimeout 60\nMaxClients 64\nAllow {LOOPBACK}\n"
            f"BasicAuth {LOGIN} {PASSWORD}\nConnectPort {allowed}\nLogLevel Connect\n"
        )
        command = [program("tinyproxy"), "-d", "-c", str(settings)]
        process = Process(
            "tinyproxy", command, workspace=workspace, environment={"PATH": os.environ["PATH"]}
        )
        process.wait_until(lambda: is_taken(port))
        yield port, process


def test_calls_go_through_tinyproxy_to_a_provider_over_tls(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("proxy")
    certificates = Certificates.make(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates.server.certificate, certificates.server.key)
    with RunningSandbox(tls=tls) as sandbox, tinyproxy(sandbox.port) as (port, process):
        secret = folder / "proxy-url"
        secret.write_text(f"http://{LOGIN}:{PASSWORD}@{LOOPBACK}:{port}\n")
        worker = stack.start_worker(
            PROVIDER_URL=f"https://localhost:{sandbox.port}/v1/personal",
            PROVIDER_CA_FILE=str(certificates.trusted.certificate),
            PROVIDER_PROXY_FILE=str(secret),
        )
        for number in range(3):
            stack.publish(request(f"through-{number}"))
        until(lambda: stack.count() == 3)
        assert {*stack.outcomes().values()} == {"match"}
        opened = re.findall(rf"CONNECT localhost:{sandbox.port} ", process.log())
        assert opened
        assert worker.stop() == 0
        assert not worker.said(PASSWORD)


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"PROVIDER_URL": "http://no-such-host.invalid/"}, "dns", "DNS does not resolve"),
        ({"PROVIDER_URL": "http://127.0.0.1:1/"}, "refused", "nobody listens"),
        (
            {"PROVIDER_PROXY": f"http://{LOGIN}:{PASSWORD}@127.0.0.1:1"},
            "proxy",
            "the proxy of PROVIDER_PROXY does not answer",
        ),
    ],
)
def test_where_a_call_cannot_be_sent_everything_says_why(
    stack: Stack, settings: dict[str, str], code: str, words: str
) -> None:
    often = {"BREAKER_FAILURES": "1", "PROBE_SECONDS": "60"}
    worker = stack.start_worker(**often, **settings, HTTP_PORT=free_port())
    stack.publish(request("unsent"))
    line = json.loads(until(lambda: worker.said('"retrying"')))
    assert (line["call_class"], line["not_sent_because"]) == ("not_sent", code)
    parked = json.loads(until(lambda: worker.said("worker.parked")))
    assert words in parked["because"]
    assert words in worker.ready()[1]
    query = "SELECT class, not_sent_because FROM verification_v1.calls"
    assert stack.rows(query) == [{"class": "not_sent", "not_sent_because": code}]
    done = stack.command("explain", "unsent")
    told = " ".join(done.stdout.split())
    assert f"not_sent, {code} ({words}" in told
    metric = f'verification_calls_not_sent_total{{because="{code}"}} 1.0'
    assert metric in worker.asked("/metrics")[1]
    assert not worker.said(PASSWORD)


def test_everything_is_reached_by_addresses_of_ipv6(stack: Stack) -> None:
    """The servers of the tests listen on IPv4 alone, so a relay stands before each."""
    names = ("AMQP_URL", "DATABASE_URL", "PROVIDER_URL")
    with ExitStack() as exits:
        relays = {n: exits.enter_context(Proxy(stack.environment[n], "::1")) for n in names}
        through = {name: relay.url for name, relay in relays.items()}
        assert all("[::1]:" in url for url in through.values())
        port = free_port()
        worker = stack.start_worker(**through, HTTP_HOST="::1", HTTP_PORT=port)
        stack.publish(request("over-ipv6"))
        until(lambda: "over-ipv6" in stack.results())
        with urllib.request.urlopen(f"http://[::1]:{port}/readyz", timeout=60) as answer:
            assert answer.read() == b"ok\n"
        assert worker.said("[::1]:")
        assert worker.stop() == 0
        assert all(relay.connections for relay in relays.values())
