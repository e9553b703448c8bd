"""A worker in which something fails whose error quotes the person's data, as foreign errors do.

    python -m tests.privacy.failing_worker <step>

It is the real `run` command in the worker's environment; one method is wrapped before it starts.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import wraps
from http.client import HTTPConnection
from typing import Any

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


def _raise(bodies: list[str]) -> None:
    raise ValueError(f"cannot work on {bodies}") from QuotingError(*bodies)


STEPS: dict[str, tuple[type, str, Callable[[list[str]], object]]] = {
    "deliver": (Pipeline, "deliver", _raise),
    "read": (RequestReader, "read", _raise),
    "call": (Flow, "call", _raise),
    "verify": (PersonalAuthClient, "verify", _raise),
    "record": (Flow, "record", _raise),
    "abort": (Flow, "call", lambda _: os.abort()),
}
DEBUGGING = "debugging"
"""A step at which nothing fails: every library says what it does."""


def _wrap(owner: type, method: str, fail: Callable[[list[str]], object]) -> None:
    """Let a method fail at every call that has a message in its arguments."""
    original = getattr(owner, method)

    @wraps(original)
    def wrapped(*args: Any, **options: Any) -> Any:
        if bodies := _bodies(args[1:]):
            fail(bodies)
        return original(*args, **options)

    setattr(owner, method, wrapped)


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
        _wrap(*STEPS[step])
    sys.argv = ["verification-worker", "run"]
    main()
