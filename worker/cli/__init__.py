"""The commands. A user's mistake is one line on standard error and exit code 2."""

from worker.cli.app import main

__all__ = ["main"]
