"""The machine's clock."""

import time
from datetime import UTC, datetime


class SystemClock:
    """The `Clock` of the ports."""

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()
