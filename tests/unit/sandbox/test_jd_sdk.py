"""JD's own SDK works against the sandbox, in both ways in which it can sign."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.packages import virtualenv
from tests.unit.sandbox.caller import Caller

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def python_with_sdk() -> Path:
    """Name a Python that has JD's SDK: 13,553 files, so it has a virtualenv of its own."""
    return virtualenv("jdcloud-sdk", HERE / "requirements.txt")


@pytest.mark.timeout(900)  # the first time it is installed
@pytest.mark.parametrize(
    ("how", "signed"),
    [
        ((), "content-type;host"),
        (("signed",), "content-type;host;x-jdcloud-date;x-jdcloud-nonce"),
    ],
)
def test_jds_own_sdk_is_admitted_and_answered(
    caller: Caller, python_with_sdk: Path, how: tuple[str, ...], signed: str
) -> None:
    command = [str(python_with_sdk), str(HERE / "jd_client.py"), caller.host, *how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    algorithm, headers, error, result = json.loads(done.stdout)
    assert (algorithm, headers, error) == ("JDCLOUD3-HMAC-SHA256", signed, None)
    assert result["authInfo"]["success"] is True
    counts = caller.counts()
    assert (counts.calls, counts.refused, counts.charges) == (1, 0, 1)
