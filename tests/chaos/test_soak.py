"""Half of the faults, at random; `tests/bench/soak.py` runs for as long as one likes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.e2e.harness import CHECKOUT


# A minute of faults, then all must settle; a busy machine needs several times that.
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("own_servers")
def test_when_faults_come_at_random_then_nothing_is_lost_and_every_charge_is_explained() -> None:
    soak = [sys.executable, "-m", "tests.bench.soak", "--minutes", "1", "--rate", "10"]
    done = subprocess.run(soak, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "unexplained charges" in done.stdout
