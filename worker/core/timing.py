"""The times that cost money: the seconds of one call, and the calendar day of budget and bill."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

DAY = 86_400.0
"""In seconds."""

# A fixed offset: China has had one zone and no summer time since 1991.
SHANGHAI = timezone(timedelta(hours=8))


def shanghai_date(moment: datetime) -> date:
    """Return the calendar day in Asia/Shanghai of a moment, which names its zone."""
    return moment.astimezone(SHANGHAI).date()


@dataclass(frozen=True, slots=True)
class CallTiming:
    """How long one call may take and how long its claim holds, all in seconds."""

    call_deadline: float
    """For one whole call."""
    connect_timeout: float
    """To connect, TLS included: a call may reach the provider so much later than it began."""
    lease_margin: float
    """For all else: a claim's answer that is late, the record of the call."""
    punctual_within: float = 1.0
    """How long after its place in the shared quota a call may begin: later it is not made.

    The limit holds in every minute only if calls are punctual. A busy machine is late by
    milliseconds.
    """

    @property
    def start_within(self) -> float:
        """How long after its claim a call may begin: as long as one other call takes."""
        return self.call_deadline + self.connect_timeout

    @property
    def lease_seconds(self) -> float:
        """How long a claim holds: a wait for a free thread, one call, and the margin.

        A call begins only while there is time for the whole of it, so a claimed request may wait
        for one other call.
        """
        return 2 * self.start_within + self.lease_margin

    @property
    def start_margin(self) -> float:
        """How long after its place in the shared quota a call may reach the provider."""
        return self.punctual_within + self.connect_timeout
