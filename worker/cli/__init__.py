"""The commands. A user's mistake is one line on standard error and exit code 2."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run one command; `run`, which stays in memory, without what only the others need."""
    if sys.argv[1:] == ["run"]:
        from worker.cli.run import main as command
    else:
        from worker.cli.app import main as command
    command()
