"""The commands. A user's mistake is one line on standard error and exit code 2.

Each stands in a module of its name or shares one, as `app` has it; `run` is loaded without `app`.
They share `mistakes` and `usage` (what a user did wrong), `inputs`, `tables` (what is printed),
`letters` (the two queues for people) and the files: `csv_file`, `request_file`, `results_file`,
`invoice_file`.
"""

import os
import signal
import sys
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Run one command; `run`, which stays in memory, without what only the others need.

    Ctrl-C ends it without a word, while it is being loaded as well.
    """
    _open_missing_streams()
    if os.getpid() == 1:
        # The kernel drops a signal that a container's first process has no handler for: a worker
        # that is told to stop while it starts would work until it is killed, amid its calls.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    try:
        if sys.argv[1:] == ["run"]:
            from worker.cli.run import main as command
        else:
            from worker.cli.app import main as command
        command()
    except KeyboardInterrupt:
        sys.exit(130)


def _open_missing_streams() -> None:
    """Open what was closed when we were started, or a connection would get its number."""
    nowhere = Path(os.devnull)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, nowhere.open(mode, encoding="utf-8"))  # to the end
