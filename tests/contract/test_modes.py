"""What the sandbox invents never passes for the provider's own answer."""

from collections.abc import Iterator

import pytest

from tests.e2e.harness import SandboxProcess, Stack, request, sandbox, until

LIVE = {"PROVIDER_MODE": "live", "PROVIDER_ACCESS_KEY": "AN-ACCOUNT-OF-JD"}
CALLS = "SELECT class, charged, status FROM verification_v1.calls"


@pytest.fixture(scope="module")
def other_sandbox() -> Iterator[SandboxProcess]:
    """Run a sandbox that knows the account of live workers: only its mark tells."""
    with sandbox(PROVIDER_ACCESS_KEY=LIVE["PROVIDER_ACCESS_KEY"]) as running:
        yield running


@pytest.fixture
def mistaken(stack: Stack, other_sandbox: SandboxProcess) -> Stack:
    """Give a stack whose workers take that sandbox for the provider."""
    other_sandbox.reset()
    stack.provider = other_sandbox
    stack.environment |= {**LIVE, "PROVIDER_URL": other_sandbox.url}
    return stack


@pytest.mark.parametrize("id_card", ["11010519491231002X", "119999194912310208"])
def test_a_live_worker_parks_before_a_sandbox_and_gives_no_result(
    mistaken: Stack, id_card: str
) -> None:
    worker = mistaken.start_worker(HTTP_PORT="0")
    mistaken.publish(request("one", id_card))
    until(lambda: worker.said("worker.parked"))
    assert (mistaken.count(), mistaken.events()) == (0, [])
    # It parks when the answer comes, and the call's end is saved after that.
    (call, *_) = until(lambda: [each for each in mistaken.rows(CALLS) if each["class"]])
    assert call == {"class": "credentials", "charged": "no", "status": "SANDBOX_IN_LIVE_MODE"}
    assert worker.stop() == 0
    assert mistaken.depth("collector") == 0


def test_the_sandbox_mode_takes_the_same_answers_and_the_other_mode_does_not(
    mistaken: Stack,
) -> None:
    worker = mistaken.start_worker(PROVIDER_MODE="sandbox")
    mistaken.publish(request("one"))
    (event,) = until(mistaken.events)
    assert (event["outcome"], event["mode"]) == ("match", "sandbox")
    assert worker.stop() == 0
    calls = mistaken.provider.charges()["calls"]
    worker = mistaken.start_worker()
    mistaken.publish(request("one"))
    (event,) = until(mistaken.events)
    assert (event["outcome"], event["error"]["kind"]) == ("conflict", "mode_mismatch")
    assert (event["mode"], event["authInfo"]) == ("live", None)
    assert mistaken.provider.charges()["calls"] == calls
    assert mistaken.results()["one"]["mode"] == "sandbox"
    assert worker.stop() == 0
