"""What a user did wrong, in one line that says what to do, and what is opened so that it does."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from worker.settings import DatabaseSettings


class UserMistake(Exception):
    """Printed as one line; exit code 2."""


@contextmanager
def open_database(
    settings: DatabaseSettings, command: str, *, patience: int | None = None
) -> Iterator[Engine]:
    """Lend the engine; what cannot be asked is a user's mistake that names the setting."""
    from worker.ports import DatabaseUnfit, LedgerContended, LedgerRefused, LedgerUnavailable
    from worker.store.engine import open_engine
    from worker.store.registry import find_blocker

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
def file_mistakes(file: Path | str, encoding: str = "") -> Iterator[None]:
    """Turn a file that cannot be opened or read into a line that names it."""
    try:
        yield
    except OSError as error:
        raise UserMistake(f"{file}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, LookupError):
        advice = "name its --encoding, such as gb18030"
        raise UserMistake(f"{file}: is not {encoding}: {advice}") from None
