"""A worker whose way out hangs for good: `python -m tests.chaos.hanging_worker`."""

from __future__ import annotations

import sys
from threading import Event

from worker.amqp.session import Session
from worker.cli import main


def _for_ever(*_: object) -> None:
    Event().wait()


if __name__ == "__main__":
    Session.close = _for_ever  # type: ignore[method-assign,assignment]
    sys.argv = ["verification-worker", "run"]
    main()
