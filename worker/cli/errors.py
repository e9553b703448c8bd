"""What a user did wrong, in one line that says what to do."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class UserMistake(Exception):
    """Printed as one line; exit code 2."""


@contextmanager
def database_mistakes() -> Iterator[None]:
    """Turn a database that cannot be used into a line that names the setting to look at."""
    from worker.ports import LedgerUnavailable

    try:
        yield
    except LedgerUnavailable as error:
        raise UserMistake(f"DATABASE_URL: the database does not answer ({error})") from None


@contextmanager
def broker_mistakes() -> Iterator[None]:
    """Turn what the broker's room raises into a line that names the setting to look at."""
    from worker.amqp.errors import AmqpError, BrokerUnavailable, NotProvisioned

    try:
        yield
    except BrokerUnavailable as error:
        raise UserMistake(f"AMQP_URL: the broker does not answer ({error})") from None
    except NotProvisioned as error:
        advice = "run `verification-worker topology apply` first"
        raise UserMistake(f"the broker lacks a queue or exchange ({error}): {advice}") from None
    except AmqpError as error:
        raise UserMistake(f"AMQP_URL: {error}") from None
