"""What a user did wrong, in one line that says what to do, and what is opened so that it does.

Of a command line it is said in our words instead of the library's. Its sentences are those of typer
0.29; one that is not known is said as it is.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from pydantic import ValidationError

from worker.settings.environment import words_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from worker.amqp.dead_letter_queue import DeadLetterQueue
    from worker.deadletters.reading import LetterReader
    from worker.settings import BrokerSettings, DatabaseSettings


class UserMistake(Exception):
    """Printed as one line; exit code 2."""


@contextmanager
def open_database(
    settings: DatabaseSettings, command: str, *, patience: int | None = None
) -> Iterator[Engine]:
    """Lend the engine; what cannot be asked is a user's mistake that names the setting."""
    from worker.ports import DatabaseUnfit, LedgerRefused, LedgerUnavailable
    from worker.store.engine import open_engine

    url = settings.database_url.get_secret_value()
    engine = open_engine(url, command, pooled=settings.is_pooled, patience=patience)
    try:
        yield engine
    except DatabaseUnfit as error:
        raise UserMistake(str(error)) from None
    except LedgerRefused as error:
        raise UserMistake(f"the database cannot take what was given ({error})") from None
    except LedgerUnavailable as error:
        raise UserMistake(f"DATABASE_URL: the database does not answer ({error})") from None
    finally:
        engine.dispose()


@contextmanager
def broker_mistakes() -> Iterator[None]:
    """Turn what the broker's room raises into a line that names the setting to look at."""
    from worker.amqp.broker_errors import AmqpError, BrokerUnavailable, NotProvisioned

    try:
        yield
    except BrokerUnavailable as error:
        raise UserMistake(f"AMQP_URL: the broker does not answer ({error})") from None
    except NotProvisioned as error:
        advice = "run `verification-worker topology apply` first"
        raise UserMistake(f"the broker lacks a queue or exchange ({error}): {advice}") from None
    except AmqpError as error:
        raise UserMistake(f"AMQP_URL: {error}") from None


@contextmanager
def open_letters(settings: BrokerSettings, queue: str, noun: str) -> Iterator[DeadLetterQueue]:
    """Lend a queue of letters, which are called `noun`; what ends it is a mistake, likewise."""
    from worker.amqp.dead_letter_queue import DeadLetterQueue, InUse
    from worker.telemetry.logs import configure

    configure("auto", "warning")
    with broker_mistakes():
        try:
            with DeadLetterQueue.opened(settings.amqp_url.get_secret_value(), queue) as opened:
                yield opened
        except InUse:
            words = f"another tool holds the {noun}: try again when it is done"
            raise UserMistake(words) from None


@contextmanager
def open_dead_letters(settings: BrokerSettings) -> Iterator[tuple[DeadLetterQueue, LetterReader]]:
    """Lend the dead letters and who reads them: with MESSAGE_KEYS those that are encrypted, too.

    Not over a question: nobody answers the broker's heartbeats meanwhile.
    """
    from worker.contract.encryption import MessageKeys
    from worker.contract.names import DEAD
    from worker.core.timing import shanghai_date
    from worker.deadletters.reading import LetterReader
    from worker.settings import MessageSettings, load
    from worker.telemetry.clock import SystemClock

    keys = MessageKeys.of(load(MessageSettings))
    with open_letters(settings, DEAD, "dead letters") as queue:
        yield queue, LetterReader(shanghai_date(SystemClock().now()), keys)


@contextmanager
def file_mistakes(file: Path | str, encoding: str = "") -> Iterator[None]:
    """Turn a file that cannot be opened or read into a line that names it."""
    try:
        yield
    except OSError as error:
        raise UserMistake(f"{file}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, LookupError):
        advice = "name its --encoding, such as gb18030"
        raise UserMistake(f"{file}: is not {encoding}: {advice}") from None


# '--mode' (env var: 'PROVIDER_MODE')
_PARAMETER = r"'([^']+)'(?: \(env var: [^)]*\))?"

_SENTENCES = (
    (r"No such command '(.+)'\. Did you mean (.+)\?", r"there is no command \1, perhaps \2"),
    (r"No such command '(.+)'", r"there is no command \1"),
    (r"No such option: (\S+) \(Possible options: (.+)\)", r"there is no option \1, perhaps \2"),
    (r"No such option: (\S+)", r"there is no option \1"),
    (r"Missing (?:argument|option) '(.+)'", r"\1 is missing"),
    (r"Option '(.+)' requires an argument", r"\1 needs a value"),
    (r"Option '(.+)' does not take a value", r"\1 takes no value"),
    # They could be somebody's name or number.
    (r"Got unexpected extra argument\(s\) \(.*\)", r"there are more arguments than it takes"),
    (rf"Invalid value for {_PARAMETER}: .* is not one of (.*)", r"\1: must be one of \2"),
    (rf"Invalid value for {_PARAMETER}: (.*)", r"\1: \2"),
)


def words_of(mistake: typer.TyperException) -> str:
    """Return what is wrong with a command line in one line, or "" where help was printed."""
    cause = mistake.__cause__
    if isinstance(mistake, typer.BadParameter) and isinstance(cause, ValidationError):
        # The library checks values by pydantic, as the settings are.
        mistake.message = "; ".join(words_for(cause.errors()[0]))
    said = mistake.format_message().removesuffix(".")
    for sentence, ours in _SENTENCES:
        if found := re.fullmatch(sentence, said, re.DOTALL):
            return found.expand(ours).replace("'", "") + ": see --help"
    return said and f"{said}: see --help"


def refuse_ignored(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Raise `UserMistake` where one of these parameters was given, for it would do nothing."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            raise UserMistake(f"{parameter.opts[0]}: {why}")
