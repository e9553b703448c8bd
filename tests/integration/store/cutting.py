"""Something happens between two statements of the ledger: a lost connection, another session."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Engine, event


@contextmanager
def _watched(
    engine: Engine, statement: int, before: Callable[[Any], None], after: Callable[[], None]
) -> Iterator[None]:
    """Call these around the n-th statement, counted from 1, by whatever way it is executed."""
    count = 0
    lent: set[Any] = set()

    class Cursor(psycopg.Cursor[Any]):
        def execute(self, *arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            is_it = count == statement
            if is_it:
                before(self.connection)
            result = super().execute(*arguments, **options)
            if is_it:
                after()
            return result

    def watch(driver: Any, *_: object) -> None:
        driver.cursor_factory = Cursor
        lent.add(driver)

    event.listen(engine, "checkout", watch)
    try:
        yield
    finally:
        event.remove(engine, "checkout", watch)
        for driver in lent:
            driver.cursor_factory = psycopg.Cursor


@contextmanager
def broken_before(engine: Engine, statement: int) -> Iterator[None]:
    """Lose the connection before a statement."""
    with _watched(engine, statement, lambda connection: connection.close(), lambda: None):
        yield


@contextmanager
def doing_after(engine: Engine, statement: int, act: Callable[[], None]) -> Iterator[None]:
    """Do something when a statement has been executed."""
    with _watched(engine, statement, lambda _: None, act):
        yield
