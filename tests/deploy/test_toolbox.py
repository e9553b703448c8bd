"""People's commands run from inside the cluster: all of the runbook's, by the toolbox's secrets."""

import re
from pathlib import Path

import pytest

from tests.deploy.manifests import Manifests, rendered
from tests.deploy.test_policy import environment
from tests.e2e import in_process
from tests.e2e.harness import CHECKOUT

RUNBOOK = (CHECKOUT / "deploy" / "RUNBOOK.md").read_text()
TWO = "(?:dead-letters|events|message-keys|outbox|requests|topology|unrouted) [a-z]+"
NAMED = {
    tuple(words.split())
    for words in re.findall(rf"verification-worker ((?:{TWO})|(?:[a-z-]+))", RUNBOOK)
} | {("dead-letters", "show")}
# The worker's own command, and a key that is made without anybody's help.
ELSEWHERE = {("run",), ("message-keys", "generate"), ("message-keys", "public")}
INVENTED = "11010519491231002X"
MORE = {
    "explain": ("onb-1",),
    "show": ("onb-1",),
    "resend": ("onb-1",),
    "pause": ("--reason", "a test"),
    "replay": ("--yes",),
    "drop": ("--yes", "--reason", "not_json"),
    "erase": ("--yes",),
    "reconcile": ("invoice.csv",),
    "submit": ("people.csv",),
}
CLEARING = {"CLEAR_AFTER_DAYS": "1"}  # or retention has nothing to do
FILES = {
    "invoice.csv": "provider_request_id,at\nx,2026-11-27T21:48:17Z\n",
    "people.csv": "requestId,checkType,name,idCard\nonb-1,2,张三,11010519491231002X\n",
}


@pytest.mark.parametrize("command", sorted(NAMED - ELSEWHERE), ids=" ".join)
def test_a_command_of_the_runbook_has_all_that_it_needs(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes as far as the servers."""
    settings = environment(rendered("production"), "toolbox", tmp_path) | CLEARING
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    done = in_process.run((*command, *MORE.get(command[-1], ())), settings, INVENTED)
    if command == ("digest",):
        assert done.returncode == 0
    else:
        said = done.stdout + done.stderr
        assert re.search("connection refused|does not answer|cannot be reached", said), said


def test_the_nightly_retention_needs_no_key_of_the_provider(
    manifests: Manifests, tmp_path: Path
) -> None:
    (container,) = manifests.pod("retention").containers()
    settings = environment(manifests, "retention", tmp_path) | CLEARING
    done = in_process.run(tuple(container["args"]), settings)
    assert "DATABASE_URL: the database does not answer" in done.stderr
    assert "required" not in done.stderr


def test_the_toolbox_is_there_when_it_is_asked_for_and_only_then(manifests: Manifests) -> None:
    toolbox = manifests.one("Deployment", "verification-toolbox")
    assert toolbox["spec"]["replicas"] == 0
    (container,) = manifests.pod("toolbox").containers()
    assert container["image"].endswith("-console")
    assert container["args"] == ["console", "--port", "8090"], "nowhere but on loopback"
    volumes = manifests.pod("toolbox").spec["volumes"]
    assert [each["emptyDir"]["medium"] for each in volumes if "emptyDir" in each] == ["Memory"]
