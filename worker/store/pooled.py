"""Sessions through a pooler that lends the server's for one transaction (`DATABASE_POOLER`).

Whatever a session remembers is another client's by the next transaction. So nothing is prepared by
name, and what limits a session elsewhere goes before the first statement of each transaction, for
that transaction. It costs no round trip: both go in one pipeline, which is one transaction where
there is no BEGIN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

# A stronger one is kept, as in a session of its own.
_DURABLE = """set_config('synchronous_commit',
 CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END,
 true)"""


def limiting_cursor(limits: Mapping[str, str]) -> type[psycopg.Cursor[Any]]:
    """Return the cursor that sets these limits and durable commits in each transaction."""
    settings = [f"set_config('{name}', '{value}', true)" for name, value in limits.items()]
    order = f"SELECT {', '.join([_DURABLE, *settings])}".encode()

    class LimitingCursor(psycopg.Cursor[Any]):
        """Puts the limits before whatever begins a transaction."""

        def execute(self, *arguments: Any, **options: Any) -> Self:
            if self.connection.info.transaction_status is not TransactionStatus.IDLE:
                return super().execute(*arguments, **options)
            with self.connection.pipeline():
                psycopg.Cursor(self.connection).execute(order)
                return super().execute(*arguments, **options)

    return LimitingCursor
