"""A wall clock that is wrong by CLOCK_SKEW_SECONDS; Python imports this at start from PYTHONPATH.

Only what a process reads of the time is shifted: all dates that it makes otherwise are as ever,
and so is the monotonic clock.
"""

from __future__ import annotations

import datetime
import os
import time
from datetime import datetime as _datetime
from typing import Any

_SECONDS = float(os.environ["CLOCK_SKEW_SECONDS"])
_SKEW = datetime.timedelta(seconds=_SECONDS)
_time, _time_ns = time.time, time.time_ns


class _Kind(type):
    """Lets the class pass for `datetime`; whatever is made by it is a `datetime`, as ever."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _datetime)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _datetime)

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        return _datetime(*arguments, **options)  # noqa: DTZ001


class SkewedDatetime(_datetime, metaclass=_Kind):
    """`datetime`, and its `now` is wrong."""

    __slots__ = ()

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        """Return the time on the wrong clock."""
        return _datetime.now(tz) + _SKEW


datetime.datetime = SkewedDatetime  # type: ignore[misc]
time.time = lambda: _time() + _SECONDS
time.time_ns = lambda: _time_ns() + int(_SECONDS * 1e9)
