"""Structured logs: JSON lines for machines, colours for a terminal; never a person's number.

Nothing of ours puts personal data into a log call. The redaction here is the second lock: an ID
number that gets into any text all the same is masked on its way out.
"""

import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import MutableMapping
from enum import StrEnum
from typing import Any

import orjson
import structlog
from structlog.typing import Processor

from worker.core.checks import ID_NUMBER_IN_TEXT, passes_check_digit
from worker.core.masking import mask_id_card
from worker.ports import Fault

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Of most lines: `amqp.connection_lost`, `database.unavailable`.
_EVENT_WIDTH = 20
_ID_NUMBER = re.compile(f"(?<![0-9]){ID_NUMBER_IN_TEXT}(?![0-9])")


class LogEvent(StrEnum):
    """What a line is about. People search and alert by these names, so they stay."""

    STARTING = "worker.starting"
    STOPPING = "worker.stopping"
    STOPPED = "worker.stopped"
    FAILED = "worker.failed"
    SETTLED = "message.settled"
    POSTPONED = "message.postponed"
    HANDED_BACK = "message.handed_back"
    PARKED = "worker.parked"
    PROBING = "worker.probing"
    RESUMED = "worker.resumed"
    BULK_BUDGET_SPENT = "bulk.budget_spent"
    BULK_GOES_ON = "bulk.goes_on"
    RELAYED = "relay.sent"
    LEASES_SETTLED = "leases.settled"
    RETURNED = "dead_letters.returned"
    DEAD_LETTERS_REFUSED = "dead_letters.refused"
    RETAINED = "retention.done"
    DATABASE_UNAVAILABLE = "database.unavailable"
    DATABASE_BACK = "database.back"
    DATABASE_BLOCKED = "database.blocked"
    DATABASE_NOT_DURABLE = "database.not_durable"
    CREDENTIALS_RENEWED = "credentials.renewed"
    CREDENTIALS_UNREADABLE = "credentials.unreadable"
    CLOCK_SET_BACK = "database.clock_set_back"
    HEALTH_LISTENING = "health.listening"
    CONSOLE_LISTENING = "console.listening"
    CONSOLE_ACTION = "console.action"
    CONSOLE_FAILED = "console.failed"
    TRACING_ON = "tracing.on"
    TRACING_OFF = "tracing.off"
    TRACING_PROBLEM = "tracing.problem"


def configure(log_format: str, level: str) -> None:
    """Set up logging for the process; `log_format` is auto, json or console."""
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    renderers: list[Processor] = [structlog.processors.JSONRenderer(serializer=_dumps)]
    factory: Any = structlog.BytesLoggerFactory(sys.stderr.buffer)
    if console:
        renderers = [_shorten_time, _console_renderer()]
        factory = structlog.PrintLoggerFactory(sys.stderr)
    structlog.configure(
        processors=[*processors, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    # pika logs whole frames and exceptions of its own; what matters of them we log ourselves.
    for library in ("pika", "urllib3"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _console_renderer() -> structlog.dev.ConsoleRenderer:
    """Return what prints a line for people: its facts in the order in which they were told."""
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    styles = structlog.dev.ConsoleRenderer.get_default_level_styles(colours)
    return structlog.dev.ConsoleRenderer(
        colors=colours,
        level_styles={level: styles[level] for level in _LEVELS},  # as wide as these, no wider
        pad_event_to=_EVENT_WIDTH,
        sort_keys=False,
    )


def _shorten_time(
    _logger: object, _method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Leave `21:13:45.123Z` of a time: who watches a terminal knows the day."""
    line["timestamp"] = f"{line['timestamp'][11:23]}Z"
    return line


def _dumps(line: object, **_: object) -> bytes:
    return orjson.dumps(line, default=str)


def redact(
    _logger: object, _method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Mask every valid ID number in the line's texts, and spell out what is not printable.

    A control character could end a line early or colour the next one, in a terminal at least.
    """
    for key, value in line.items():
        if not isinstance(value, str):
            continue
        if len(value) >= 18:
            line[key] = value = _ID_NUMBER.sub(_mask, value)
        if not value.isprintable():
            line[key] = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in value)
    return line


def _mask(found: re.Match[str]) -> str:
    number = found.group().upper()
    return mask_id_card(number) if passes_check_digit(number) else found.group()


def describe(error: BaseException) -> dict[str, object]:
    """Return what may be logged of an unexpected error: its type and where, not its words.

    The words of a foreign exception may quote the data that it choked on; those of ours do not.
    """
    where = _places(traceback.extract_tb(error.__traceback__))
    words = {"reason": str(error)} if isinstance(error, Fault) else {}
    return {"error": type(error).__name__, **words, "where": where[-8:]}


def threads() -> dict[str, list[str]]:
    """Return where each thread stands, by its name: for a process that does not end."""
    frames = sys._current_frames()  # there is no other way to another thread's stack
    return {
        each.name: _places(traceback.extract_stack(frames[each.ident]))[-6:]
        for each in threading.enumerate()
        if each.ident in frames
    }


def _places(frames: traceback.StackSummary) -> list[str]:
    return [f"{frame.filename.rpartition('/worker/')[2]}:{frame.lineno}" for frame in frames]
