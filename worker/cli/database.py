"""The database of one command: opened, its errors turned into lines, closed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from worker.cli.errors import database_mistakes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from worker.settings import DatabaseSettings


@contextmanager
def opened(settings: DatabaseSettings, command: str) -> Iterator[Engine]:
    """Lend the engine; what cannot be asked is a user's mistake that names the setting."""
    from worker.store.engine import open_engine

    engine = open_engine(settings.database_url.get_secret_value(), command)
    try:
        with database_mistakes():
            yield engine
    finally:
        engine.dispose()
