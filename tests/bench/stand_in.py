"""Providers that are never the bottleneck: nginx for an instant answer, asyncio for a late one.

They check no signature and count no charge: the sandbox does that, and costs as much as a worker.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from local_ports import LOOPBACK, free_ports, is_taken
from local_process import Process, Workspace
from local_programs import program
from tests.bench.late_provider import ANSWER

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/v1/personal"

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
    workspace = Workspace("nginx")
    process: Process | None = None
    try:
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
    finally:
        if process is not None:
            process.stop()
        workspace.close()


@contextmanager
def delayed(seconds: float) -> Iterator[str]:
    """Run a process and yield the address of a provider that answers after so many seconds."""
    command = [sys.executable, "-m", "tests.bench.late_provider", str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield f"http://{LOOPBACK}:{port}{PATH}"
    finally:
        process.kill()
        process.communicate()
