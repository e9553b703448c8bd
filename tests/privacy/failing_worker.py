"""A worker in which something fails whose error quotes the person's data, as foreign errors do.

    python -m tests.privacy.failing_worker <step>

It is the real `run` command in the worker's environment; one method is wrapped before it starts,
and fails at every call that has a message in its arguments.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from http.client import HTTPConnection
from typing import Any

from tests.chaos.crashing_worker import Moment
from worker.cli import main
from worker.contract.request_v1 import RequestReader
from worker.core.delivery import Delivery
from worker.pipeline.flow import Flow
from worker.pipeline.runner import Pipeline
from worker.pipeline.work import Finished, Task
from worker.provider.client import PersonalAuthClient
from worker.telemetry import logs


class QuotingError(Exception):
    """A foreign library's error; its words are the data that it could not take."""


def _bodies(argument: Any) -> list[str]:
    """Return the bodies of the messages that a method was called with."""
    match argument:
        case Delivery():
            return [argument.body.decode("utf-8", "replace")]
        case Task():
            return _bodies(argument.asked.delivery)
        case Finished():
            return _bodies(argument.delivery)
        case list() | tuple():
            return [body for each in argument for body in _bodies(each)]
        case _:
            return list(getattr(getattr(argument, "person", None), "fields", {}).values())


def _counts(_self: object, *args: object, **_: object) -> bool:
    return bool(_bodies(args))


def _raise(_self: object, *args: object, **_: object) -> None:
    bodies = _bodies(args)
    raise ValueError(f"cannot work on {bodies}") from QuotingError(*bodies)


_fails = partial(Moment, counts=_counts, strike=_raise, later_too=True)
STEPS = {
    "deliver": _fails(Pipeline, "deliver"),
    "read": _fails(RequestReader, "read"),
    "call": _fails(Flow, "call"),
    "verify": _fails(PersonalAuthClient, "verify"),
    "record": _fails(Flow, "record"),
    "abort": _fails(Flow, "call", strike=lambda *_, **__: os.abort()),
}
DEBUGGING = "debugging"
"""A step at which nothing fails: every library says what it does."""


def _turn_debugging_on() -> None:
    """Turn every library's debugging on, which no setting of the worker's can do."""
    configure = logs.configure

    def configured(log_format: str, level: str) -> None:
        configure(log_format, level)
        logging.basicConfig(level=logging.DEBUG)
        for name in ("pika", "urllib3"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        HTTPConnection.debuglevel = 1

    logs.configure = configured


if __name__ == "__main__":
    (step,) = sys.argv[1:]
    if step == DEBUGGING:
        _turn_debugging_on()
    else:
        STEPS[step].wrap(1)
    sys.argv = ["verification-worker", "run"]
    main()
