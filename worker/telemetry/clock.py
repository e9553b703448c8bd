"""The machine's clock."""

import time
from datetime import UTC, date, datetime

from worker.core.timing import shanghai_date


class SystemClock:
    """The `Clock` of the ports."""

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()


def today() -> date:
    """Return the day by which dates of birth are judged."""
    return shanghai_date(SystemClock().now())
