"""What a person gets wrong in a URL or a secret is one line that names setting and mistake."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from local_stack import Servers
from tests.chaos.certificates import Certificates
from tests.e2e import in_process
from tests.e2e.harness import SETTINGS

SECRET = "Tr0ub4dor"


def told(*arguments: str, **settings: str) -> str:
    """Run a command that must end with one line and exit code 2; return the line."""
    done = in_process.run(arguments, {**SETTINGS, **settings}, "")
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert SECRET not in line
    return line.removeprefix("verification-worker: ")


AMQP = f"amqp://user:{SECRET}@localhost:5672/v"
POSTGRESQL = f"postgresql://user:{SECRET}@localhost/v"

WRONG = {
    "AMQP_URL": [
        (f"http://user:{SECRET}@localhost", "must begin with amqp:// or amqps://"),
        (f"AMQP://user:{SECRET}@localhost", "must begin with amqp:// or amqps://"),
        (f"{AMQP}\n", "begins or ends with a blank or a newline"),
        (f" {AMQP}", "begins or ends with a blank or a newline"),
        (f"amqp://user:{SECRET} 1@localhost/v", "must hold no blank"),
        (f"amqp://user:{SECRET}#1@localhost/v", "holds a # before its @"),
        (f"amqp://user:{SECRET}?1@localhost/v", "holds a ? before its @"),
        (f"amqp://user:{SECRET}/1@localhost/v", "holds a / before its @"),
        (f"amqp://user:12/{SECRET}@localhost/v", "holds a / before its @"),
        (f"amqp://user:{SECRET}[1@localhost/v", "its port must be a number"),
        (f"{AMQP}#x", "holds a #"),
        (f"amqp://user:{SECRET}@localhost:56a2/v", "its port must be a number"),
        (f"amqp://user:{SECRET}@localhost:0/v", "its port must be a number"),
        (f"amqp://user:{SECRET}@::1:5672/v", "an IPv6 address stands in brackets"),
        (f"amqp://user:{SECRET}@[::1/v", "an IPv6 address stands in brackets"),
        (f"amqp://user:{SECRET}@[localhost]/v", "an IPv6 address stands in brackets"),
        (f"amqp://user:{SECRET}@:5672/v", "names no host"),
        (f"amqp://user:{SECRET}@$(HOST)/v", "names a host that cannot be one"),
        (f"amqp://user:{SECRET}@{'a' * 64}.internal/v", "names a host that cannot be one"),
        (f"amqp://{SECRET}@localhost/v", "names a user without a password"),
        (f"amqp://user:{SECRET}@localhost/a/b", "names a vhost with a /"),
        (f"{AMQP}?verify=verify_none", "has no parameter verify: certificates are always"),
        (f"{AMQP}?hartbeat=60", "has no parameter hartbeat"),
        (f"{AMQP}?heartbeat=soon", "its parameter heartbeat has a value that is none"),
        (f"{AMQP}?heartbeat=", "its parameter heartbeat has a value that is none"),
        (f"{AMQP}?heartbeat=1&heartbeat=2", "its parameter heartbeat has a value that is none"),
        (f"{AMQP}?tcp_options={{", "its parameter tcp_options has a value that is none"),
        (f"{AMQP}?client_properties=7", "its parameter client_properties has a value"),
        (f"{AMQP}?{SECRET}", "has no parameter what stands after its ?"),
        (f"{AMQP}?ssl_options=None", "must not have ssl_options"),
        (f"{AMQP}?cacertfile=/ca.pem", "must begin with amqps:// where files for TLS are named"),
    ],
    "DATABASE_URL": [
        (f"mysql://user:{SECRET}@localhost/v", "must begin with postgresql://"),
        (f"postgresql://user:{SECRET}@1@localhost/v", "holds more than one @: in user and"),
        (f"postgresql://user:{SECRET}%00@localhost/v", "cannot be read as postgresql://"),
        (f"postgresql://user:{SECRET}@localhost:54x2/v", "its port must be a number"),
        (f"postgresql://user:{SECRET}@localhost:99999/v", "its port must be a number"),
        (f"postgresql://user:{SECRET}@::1:5432/v", "its port must be a number"),
        (f"postgresql://user:{SECRET}@[::1/v", "cannot be read as postgresql://"),
        (f"postgresql://user:{SECRET}@$(HOST)/v", "names a host that cannot be one"),
        (f"postgresql://user:{SECRET}@db..internal/v", "names a host that cannot be one"),
        (f"postgresql://user:{SECRET}@a,b,c/v?port=1,2", "must name one port for each host"),
        (f"{POSTGRESQL}?sslmod=require", "has no parameter sslmod (sslmode?)"),
        (f"{POSTGRESQL}?pool_size=5", "has no parameter pool_size"),
        (f"{POSTGRESQL}?{SECRET}=1", "has no parameter what stands after its ?"),
        (f"{POSTGRESQL}?sslmode", "cannot be read as postgresql://"),
        (f"{POSTGRESQL}?sslmode={SECRET}", "its parameter sslmode has a value that is none"),
        (f"{POSTGRESQL}?target_session_attrs=rw", "its parameter target_session_attrs has a"),
        (f"{POSTGRESQL}?connect_timeout=5s", "its parameter connect_timeout has a value"),
    ],
    "PROVIDER_URL": [
        ("localhost:8080/v1/personal", "must begin with https:// or http://"),
        (
            "http://localhost:8080/v1/personal?verify=false",
            "takes no parameters, and so not verify",
        ),
        (f"http://user:{SECRET}@localhost/", "must hold no user and no password"),
        ("http://*.example.org/v1/personal", "names a host that cannot be one"),
        ("http://localhost/v1/实名", "must be ASCII"),
        ("http://实名.cn/v1/personal", "must be ASCII"),
    ],
    "PROVIDER_PROXY": [
        (f"https://user:{SECRET}@proxy:3128", "must begin with http://"),
        (f"http://user:{SECRET}@proxy", "must be written as http://host:port"),
        (f"http://user:{SECRET}@proxy:3128/way", "must be written as http://host:port"),
        (f"http://user:{SECRET}@proxy:3128/?no=1", "takes no parameters, and so not no"),
    ],
    # No URLs, and secret as well.
    "DIGEST_KEY": [(SECRET, "must have at least 32 characters")],
    "PROVIDER_ACCESS_KEY": [(f"{SECRET}\nX-Other: header", "must be printable ASCII")],
    "PROVIDER_SECRET_KEY": [("", "is required")],
}


@pytest.mark.parametrize(
    ("setting", "url", "words"),
    [
        pytest.param(setting, url, words, id=f"{setting}-{number}")
        for setting, cases in WRONG.items()
        for number, (url, words) in enumerate(cases)
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_opened(
    setting: str, url: str, words: str
) -> None:
    assert told("check-config", **{setting: url}).startswith(f"{setting}: {words}")


# What only the server tells.


@contextmanager
def answering(answer: bytes, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Give the port of a server that says this to whoever comes, and ends the connection."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(60)
            with suppress(OSError):
                if tls is not None:
                    self.request = tls.wrap_socket(self.request, server_side=True)
                self.request.recv(8)
                self.request.sendall(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def check(url: str, **settings: str) -> str:
    line = told("topology", "check", AMQP_URL=url, **settings)
    assert line.startswith("AMQP_URL: ")
    return line


def test_the_broker_says_which_part_of_the_url_it_refuses(amqp_url: str, servers: Servers) -> None:
    where = urlsplit(amqp_url)
    host = f"127.0.0.1:{where.port}"
    assert "no such vhost" in check(f"amqp://guest:guest@{host}/no-such-vhost")
    refused = check(f"amqp://guest:{SECRET}%41@{host}{where.path}")
    assert "refuses user or password" in refused
    assert "write %23 for #, %25 for %" in refused
    assert "%5B for [" in refused
    assert "no TLS is spoken there" in check(f"amqps://guest:guest@{host}{where.path}")
    assert servers.broker.management_url is not None
    http = urlsplit(servers.broker.management_url).port
    silent = check(f"amqp://guest:guest@127.0.0.1:{http}/?stack_timeout=1")
    assert "did not answer in AMQP" in silent
    assert "no TLS is spoken there" in check(f"amqps://guest:guest@127.0.0.1:{http}/")


def test_where_no_broker_answers_it_is_said_why(own_servers: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "nobody listens at host and port" in check(f"amqp://u:p@127.0.0.1:{port}/")
    assert "nobody listens at host and port" in check(f"amqp://u:p@[::1]:{port}/")
    assert "DNS does not resolve" in check("amqp://u:p@no-such-host.invalid/")
    with answering(b"\x15\x03\x03\x00\x02\x02\x46") as port:
        assert "TLS is spoken there" in check(f"amqp://u:p@127.0.0.1:{port}/")
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert "an HTTP server answers there" in check(f"amqp://u:p@127.0.0.1:{port}/")
    with answering(b"") as port:
        assert "closed before any AMQP" in check(f"amqp://u:p@127.0.0.1:{port}/")


def test_a_certificate_that_is_refused_is_refused_in_words(
    own_servers: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    certificates = Certificates.make(tmp_path_factory.mktemp("tls"))
    trusted = str(certificates.trusted.certificate)
    expired = certificates.trusted.issue("expired", days=-1)
    for pair, host, ca, words in (
        (certificates.server, "localhost", "", "CA is not trusted: AMQP_CA_FILE"),
        (certificates.server, "127.0.0.1", trusted, "for another host: AMQP_URL"),
        (expired, "localhost", trusted, "has expired"),
    ):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pair.certificate, pair.key)
        with answering(b"", tls) as port:
            assert words in check(f"amqps://u:p@{host}:{port}/", AMQP_CA_FILE=ca)
