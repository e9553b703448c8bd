"""Secrets stay where they were put: no log, table, traceback or command line repeats one."""

from __future__ import annotations

import secrets
from pathlib import Path

from tests.e2e.harness import Process, Stack, as_user, request, until

FILED = ("AMQP_URL", "DATABASE_URL", "PROVIDER_ACCESS_KEY", "PROVIDER_SECRET_KEY", "DIGEST_KEY")


def assert_untold(worker: Process, *values: str) -> None:
    """Look for the secrets in what was logged and in what every user of the machine can see."""
    cmdline = Path(f"/proc/{worker.popen.pid}/cmdline").read_text()
    said = "\n".join([*worker.lines, cmdline])
    assert "Traceback" not in said
    assert [value for value in values if value in said] == []


def test_with_all_secrets_in_files_the_worker_answers_and_tells_none(
    stack: Stack, tmp_path: Path
) -> None:
    values = [stack.environment.pop(name) for name in FILED]
    for name, value in zip(FILED, values, strict=True):  # as Kubernetes mounts them
        file = tmp_path / name.lower()
        file.write_bytes(value.encode() + b"\r\n")
        stack.environment[f"{name}_FILE"] = str(file)
    stack.forks = False  # the kernel shows the arguments and the environment of a new program
    worker = stack.start_worker(LOG_LEVEL="debug")
    stack.publish(request("from-files"))
    until(lambda: stack.results().get("from-files"))
    assert_untold(worker, *values)
    environment = Path(f"/proc/{worker.popen.pid}/environ").read_bytes()
    assert [value for value in values if value.encode() in environment] == []
    shown = stack.command("check-config", code=0)
    assert [value for value in values if value in shown.stdout + shown.stderr] == []


def test_when_passwords_are_wrong_then_the_log_says_whose_and_not_what(stack: Stack) -> None:
    password = secrets.token_urlsafe(16)
    stack.provider.reset()
    stack.publish(request("waits"))
    stack.forks = False
    worker = stack.launch_worker(
        AMQP_URL=as_user(stack.amqp_url, "guest", password),
        DATABASE_URL=as_user(stack.database_url, "nobody", password),
    )
    until(lambda: worker.said("the broker refuses user or password"))
    assert_untold(worker, password)
    worker.stop()
    worker = stack.start_worker(PROVIDER_SECRET_KEY=password)
    until(lambda: worker.said("credentials") or worker.said("parked"))
    assert_untold(worker, password)
    assert stack.provider.charges()["charges"] == 0
