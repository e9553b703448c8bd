"""What blocks runs in threads, so that no part of a page holds up the others.

What is asked has so many seconds; what was ordered goes on, and is remembered with who ordered it.
The loop's thread only.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import structlog

from worker.amqp.broker_errors import AmqpError, NotProvisioned
from worker.amqp.dead_letter_queue import InUse
from worker.ports import Fault, LedgerUnavailable
from worker.telemetry.logs import LogEvent, describe

R = TypeVar("R")

# A statement ends after two (`status_parts.PATIENCE`), and four are asked at a time.
SECONDS = 6.0
# A queue of some thousand letters is looked at within seconds.
LETTER_SECONDS = 60.0
# As many orders as a person would look back to.
_KEPT = 20
# An order that takes longer goes on behind the page.
_AWAITED_SECONDS = 3.0
# What is asked to stop does so between two messages.
_LAST_SECONDS = 5.0


class NotAnswered(Exception):
    """A server does not answer; the words are for people."""


async def ask(function: Callable[[], R], seconds: float = SECONDS) -> R:
    """Return what a blocking function does. Raises NotAnswered."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(function), seconds)
    except TimeoutError:
        raise NotAnswered(f"no answer within {seconds:g} s") from None
    except (AmqpError, Fault) as error:
        raise NotAnswered(words_of(error)) from None


def words_of(error: AmqpError | Fault) -> str:
    """Return what went wrong in a line."""
    match error:
        case InUse():
            return "another tool holds the queue: try again when it is done"
        case NotProvisioned():
            return f"the broker lacks a queue or exchange ({error})"
        case AmqpError():
            return f"the broker does not answer ({error})"
        case LedgerUnavailable():
            return f"the database does not answer ({error})"
        case _:
            return str(error)


async def ask_all(
    reads: Mapping[str, Callable[[], Any]],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Ask all at a time; return what was answered, and why the others were not."""
    answers = await asyncio.gather(*map(ask, reads.values()), return_exceptions=True)
    parts: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, answer in zip(reads, answers, strict=True):
        if isinstance(answer, NotAnswered):
            problems[name] = str(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            parts[name] = answer
    return parts, problems


class Ended(Exception):
    """The console ends: the rest is left undone."""


@dataclass(slots=True)
class Action:
    """One order. `done` counts where it is about several messages."""

    at: datetime
    user: str
    verb: str
    """replay, drop, pause or resume."""
    what: str
    of: int = 0
    done: Callable[[], int] = lambda: 0
    problem: str | None = None
    is_over: bool = False


class Actions:
    """Carries orders out in threads, and remembers the latest."""

    def __init__(self) -> None:
        self.latest: deque[Action] = deque(maxlen=_KEPT)
        self._running: set[asyncio.Task[None]] = set()
        self._ending = threading.Event()

    async def carry_out(self, action: Action, act: Callable[[], object]) -> None:
        """Begin it, and wait for a moment; it goes on for as long as it takes."""
        self.latest.appendleft(action)
        task = asyncio.create_task(self._run(action, act))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.wait({task}, timeout=_AWAITED_SECONDS)

    def go_on(self) -> None:
        """Raise Ended where what is under way shall stop; from any thread."""
        if self._ending.is_set():
            raise Ended("the console was ended: the rest stands where it was")

    async def end(self, _application: object) -> None:
        """Stop what is under way, so that it is logged how far it came."""
        self._ending.set()
        if self._running:
            await asyncio.wait(self._running, timeout=_LAST_SECONDS)

    async def _run(self, action: Action, act: Callable[[], object]) -> None:
        log = structlog.get_logger().bind(
            user=action.user, action=action.verb, what=action.what, of=action.of
        )
        more: dict[str, object] = {}
        try:
            await asyncio.to_thread(act)
        except (AmqpError, Fault) as error:
            action.problem = words_of(error)
        except Ended as error:
            action.problem = str(error)
        except Exception as error:  # noqa: BLE001  # whatever it is, who ordered it must learn it
            action.problem = type(error).__name__
            more = describe(error)
        say = log.warning if action.problem else log.info
        say(LogEvent.CONSOLE_ACTION, done=action.done(), problem=action.problem, **more)
        action.is_over = True
