"""The chore that counts messages which were settled without a row of their own."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from worker.maintenance.chores import Chore
from worker.ports import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Of what cannot be counted now. While the database is away no messages are taken, so more is there
# only where this alone is refused.
_KEPT = 10_000


def turned_away(
    take: Callable[[], list[tuple[object, object]]],
    put_back: Callable[[list[tuple[object, object]]], None],
    save: Callable[[Mapping[tuple[object, object], int]], None],
) -> Chore:
    """Count, by source and reason, the messages that were settled without a row of their own.

    One is counted when it is acknowledged: again where that was lost with the connection, and not
    at all where the worker is killed within seconds.
    """

    def run_once() -> int:
        if messages := take():
            try:
                save(Counter(messages))
            except LedgerUnavailable:
                put_back(messages[:_KEPT])
                raise
        return 0

    return Chore("turned away", 5.0, 1, run_once)
