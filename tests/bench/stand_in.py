"""Providers that are never the bottleneck: nginx for an instant answer, asyncio for a late one.

    python -m tests.bench.stand_in 0.3     # the late one: answers after so many seconds

They check no signature and count no charge: the sandbox does that, and costs as much as a worker.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

from local_ports import LOOPBACK, free_ports, is_taken
from local_process import Process
from local_programs import program
from local_workspace import Workspace

PATH = "/v1/personal"
ANSWER = (
    '{"requestId":"bench","result":{"authInfo":{"success":true,"hasException":false,"code":"ok",'
    '"message":"","detail":"{\\"chargeFlag\\":\\"1\\"}"}}}'
)

# One process answers 20,000 calls a second; keep-alive as long as a round lasts.
_NGINX = """\
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  server_tokens off;
  keepalive_requests 10000000;
  keepalive_timeout 300s;
  client_body_temp_path {directory}/body;
  server {{
    listen {host}:{port} backlog=1024;
    location / {{ default_type application/json; return 200 '{answer}'; }}
  }}
}}
"""


@contextmanager
def instant() -> Iterator[str]:
    """Run nginx and yield the address of a provider that answers at once."""
    with closing(Workspace("nginx")) as workspace:
        (port,) = free_ports(1)
        configuration = workspace.directory / "nginx.conf"
        answer = ANSWER.replace("\\", "\\\\")
        configuration.write_text(
            _NGINX.format(directory=workspace.directory, host=LOOPBACK, port=port, answer=answer)
        )
        process = Process(
            "nginx",
            [program("nginx"), "-e", "stderr", "-c", str(configuration)],
            workspace=workspace,
            environment={"PATH": os.environ.get("PATH", os.defpath)},
        )
        process.wait_until(lambda: is_taken(port))
        yield f"http://{LOOPBACK}:{port}{PATH}"


@contextmanager
def delayed(seconds: float) -> Iterator[str]:
    """Run a process and yield the address of a provider that answers after so many seconds."""
    command = [sys.executable, "-m", "tests.bench.stand_in", str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield f"http://{LOOPBACK}:{port}{PATH}"
    finally:
        process.kill()
        process.communicate()


class _Exchange(asyncio.Protocol):
    """One connection: every whole request is answered after so many seconds."""

    _LENGTH = re.compile(rb"content-length:[ \t]*([0-9]+)", re.IGNORECASE)
    _BYTES = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(ANSWER.encode())}\r\n\r\n{ANSWER}"
    ).encode()

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, separator, body = self._received.partition(b"\r\n\r\n")
            length = self._LENGTH.search(head)
            size = int(length[1]) if length else 0
            if not separator or len(body) < size:
                return
            self._received = body[size:]
            asyncio.get_running_loop().call_later(self._seconds, self._answer)

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._BYTES)


async def _serve(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Exchange(seconds), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
