"""A worker whose way out fails: `python -m tests.chaos.hanging_worker hangs|raises`."""

from __future__ import annotations

import sys
from threading import Event

from worker.cli import main
from worker.maintenance.relay import Relay

SECRET = "words that may quote data"


def _hangs(_relay: Relay) -> None:
    Event().wait()


def _raises(_relay: Relay) -> None:
    raise RuntimeError(SECRET)


if __name__ == "__main__":
    # Its last statement, when all is recorded: the connections are still open.
    Relay.flush = {"hangs": _hangs, "raises": _raises}[sys.argv[1]]  # type: ignore[method-assign,assignment]
    sys.argv = ["verification-worker", "run"]
    main()
