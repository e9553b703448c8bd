"""`deploy/kubernetes/prepare` waits for both Jobs, and ends when one has failed."""

import os
import sys
from pathlib import Path

import pytest

from tests.deploy.manifests import OVERLAYS
from tests.e2e.harness import CHECKOUT, run_program

PREPARE = CHECKOUT / "deploy" / "kubernetes" / "prepare"
RENDERS = Path(sys.executable).with_name("kubectl")
# Renders as kubectl does, writes down what it is asked, and has a script for the Jobs' conditions.
STAND_IN = """#!/usr/bin/env bash
[[ $1 == kustomize ]] && exec {renders} "$@"
printf '%s\\n' "$*" >>{folder}/asked
[[ " $* " == *" get job "* ]] || exit 0
read -r line <{folder}/script
sed -i 1d {folder}/script
printf '%b' "$line"
"""


def prepare(folder: Path, *conditions: str, overlay: str = "production") -> tuple[int, str, str]:
    """Run it with these conditions of the Jobs, one look after the other."""
    (folder / "script").write_text("".join(f"{each}\n" for each in conditions))
    kubectl = folder / "kubectl"
    kubectl.write_text(STAND_IN.format(renders=RENDERS, folder=folder).replace("\\\\n", "\\n"))
    kubectl.chmod(0o755)
    path = {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = run_program(str(PREPARE), str(OVERLAYS / overlay), environment=path)
    return done.returncode, done.stderr, (folder / "asked").read_text()


BOTH = r"verification-migration SuccessCriteriaMet Complete\nverification-topology Complete\n"
ONE = r"verification-migration Complete\nverification-topology \n"
FAILED = r"verification-migration FailureTarget Failed\nverification-topology \n"


def test_it_ends_when_both_are_complete(tmp_path: Path) -> None:
    code, said, asked = prepare(tmp_path, ONE, BOTH)
    assert (code, said) == (0, "")
    first, second, *looks = asked.splitlines()
    assert "delete job --selector verification-stage=prepare" in first
    assert first.startswith("--namespace verification ")
    assert second.startswith("apply --kustomize")
    assert len(looks) == 2


@pytest.mark.parametrize("overlay", ["production", "sandbox"])
def test_it_ends_at_once_when_one_has_failed_and_says_which(tmp_path: Path, overlay: str) -> None:
    code, said, asked = prepare(tmp_path, FAILED, overlay=overlay)
    assert (code, said) == (1, "prepare: failed: verification-migration\n")
    assert "logs job/verification-migration" in asked.splitlines()[-1]
