"""What blocks is asked in threads, for so many seconds: no part of a page holds the others."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from worker.amqp.broker_errors import AmqpError, NotProvisioned
from worker.amqp.dead_letter_queue import InUse
from worker.ports import Fault, LedgerUnavailable

R = TypeVar("R")

# A statement ends after two (`status_parts.PATIENCE`), and four are asked at a time.
SECONDS = 6.0
# A queue of some thousand letters is looked at within seconds.
LETTER_SECONDS = 60.0


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
