"""What people order all workers at once, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

# No call begins later than so many seconds after a pause is committed. Workers look once a second,
# and a look takes milliseconds: the rest is for a busy machine.
NOTICE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause: no call begins until a person lifts it."""

    reason: str
    """The words of who ordered it; checked, no personal data."""
    by: str
    since: datetime
