"""The calendar that counts: dates of birth, the provider's bill and the day's budget are China's.

A fixed offset: China has had one zone and no summer time since 1991.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

SHANGHAI = timezone(timedelta(hours=8))


def shanghai_date(moment: datetime) -> date:
    """Return the calendar day in Asia/Shanghai of a moment, which names its zone."""
    return moment.astimezone(SHANGHAI).date()
