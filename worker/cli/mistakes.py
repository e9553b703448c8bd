"""What a user did wrong, in a line that says what to do: also with servers, files and ports."""

from __future__ import annotations

import errno
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from worker.settings import SettingsInvalid
from worker.telemetry.logs import configure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from worker.settings import DatabaseSettings


# A disk that is full, or broken, under a file that a command writes or that its output goes into.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class UserMistake(Exception):
    """Printed as one line; exit code 2."""


def complain(words: str) -> None:
    """Say what went wrong, in the program's name, on standard error."""
    sys.stderr.write(f"verification-worker: {words}\n")


@contextmanager
def one_line_each() -> Iterator[None]:
    """End a command for which a setting or something else of the user's is wrong: exit code 2."""
    try:
        yield
    except (SettingsInvalid, UserMistake) as mistake:
        several = mistake.problems if isinstance(mistake, SettingsInvalid) else [str(mistake)]
        for problem in several:
            complain(problem)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        complain(f"what it says cannot be written ({error.strerror})")
        sys.exit(2)


@contextmanager
def open_database(
    settings: DatabaseSettings, command: str, *, patience: int | None = None
) -> Iterator[Engine]:
    """Lend the engine; what cannot be asked is a user's mistake that names the setting.

    What is logged meanwhile goes to standard error, from warnings on.
    """
    from worker.ports import DatabaseUnfit, LedgerContended, LedgerRefused, LedgerUnavailable
    from worker.store.engine import open_engine
    from worker.store.fleet import find_blocker

    configure("auto", "warning")
    url = settings.database_url.get_secret_value()
    engine = open_engine(url, command, pooled=settings.is_pooled, patience=patience)
    try:
        yield engine
    except DatabaseUnfit as error:
        raise UserMistake(str(error)) from None
    except LedgerRefused as error:
        raise UserMistake(f"the database cannot take what was given ({error})") from None
    except LedgerUnavailable as error:
        blocker = None
        if isinstance(error, LedgerContended):
            with suppress(LedgerUnavailable):
                blocker = find_blocker(engine)
        why = blocker or error
        raise UserMistake(f"DATABASE_URL: the database does not answer ({why})") from None
    finally:
        engine.dispose()


@contextmanager
def broker_mistakes() -> Iterator[None]:
    """Turn what the broker's room raises into a line that names the setting to look at.

    Logging is as of `open_database`, unless it is configured within.
    """
    from worker.amqp.broker_errors import AmqpError, BrokerUnavailable, NotProvisioned

    configure("auto", "warning")
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
def file_mistakes(file: Path | str, encoding: str = "") -> Iterator[None]:
    """Turn a file that cannot be opened or read into a line that names it."""
    try:
        yield
    except OSError as error:
        raise UserMistake(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeError:  # of UTF-16 without a mark at its beginning, too
        advice = "name its --encoding, such as gb18030"
        raise UserMistake(f"{file}: is not {encoding}: {advice}") from None


@contextmanager
def port_mistakes(host: str, port: int) -> Iterator[None]:
    """Turn a port that cannot be opened into a line that names it."""
    try:
        yield
    except OSError as error:
        # asyncio says the address first, once more, and from Python 3.14 on the error's number.
        reason = str(error.strerror).rpartition(": ")[2].rpartition("] ")[2]
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise UserMistake(f"cannot listen on {where} ({reason})") from None
