"""Installers of others (apt-get, npm), run without a terminal and quoted only where they fail."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from local_errors import StackError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# What went wrong stands at the end; before it are progress and advice.
_QUOTED_LINES = 10


def run_installer(
    command: Sequence[str],
    seconds: float,
    *,
    folder: Path | None = None,
    more_variables: Mapping[str, str] | None = None,
) -> None:
    """Run an installer to its end, in silence, for so many seconds at most.

    Raises StackError with the last lines that it said.
    """
    words = " ".join(command)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(more_variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"{words} was not done after {seconds:.0f} s") from None
    if done.returncode != 0:
        tail = "\n".join(done.stdout.strip().splitlines()[-_QUOTED_LINES:])
        raise StackError(f"{words} ended with code {done.returncode}:\n{tail}")
