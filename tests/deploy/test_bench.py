"""The bench's commands start as `deploy/CAPACITY.md` and `deploy/SPEED.md` call them."""

import subprocess
import sys

import pytest
import requests

from tests.bench import stand_in
from tests.e2e.harness import CHECKOUT


@pytest.mark.parametrize("command", ["contest", "growth"])
def test_a_command_of_the_bench_explains_itself(command: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{command}", "--help"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "usage:" in told.stdout.lower()


def test_the_late_provider_answers() -> None:
    with stand_in.delayed(0.0) as url:
        answer = requests.post(url, json={}, timeout=60).json()
    assert answer["result"]["authInfo"]["success"] is True
