"""How long to wait before the next try."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A restarted broker answers after 4 to 15 s. Nobody waits longer than 10 s for a worker to notice
# one that is back, and a hundred replicas trying every 5 s are nothing to it.
FIRST_SECONDS = 1.0
LIMIT_SECONDS = 10.0


class Backoff:
    """Exponential with full jitter: anything up to 1, 2, 4, 8, 10 s, so that replicas spread."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._bound = FIRST_SECONDS

    def next(self) -> float:
        """Return the seconds to wait now; the next wait may be twice as long."""
        bound, self._bound = self._bound, min(2 * self._bound, LIMIT_SECONDS)
        return bound * self._jitter()

    def reset(self) -> None:
        """Begin again: it worked."""
        self._bound = FIRST_SECONDS
