"""The provider's credentials, read again now and then: platforms renew their files while we run."""

from collections.abc import Callable
from typing import TypeVar

import structlog

from worker.maintenance.chores import Chore
from worker.settings import SettingsInvalid
from worker.telemetry.logs import LogEvent

Credentials = TypeVar("Credentials")

# Kubernetes takes up to a minute to bring a changed secret; all settings are read in milliseconds.
_INTERVAL = 15.0


def renewed_credentials(
    in_use: Credentials, read: Callable[[], Credentials], use: Callable[[Credentials], None]
) -> Chore:
    """Have what `read` returns used once it has changed, and is the same at a second look.

    Key, secret and token stand in a file each: a look may fall between two that are being replaced.
    """
    log = structlog.get_logger()
    before = in_use
    unreadable = False

    def run_once() -> int:
        nonlocal in_use, before, unreadable
        try:
            found = read()
        except SettingsInvalid as invalid:
            if not unreadable:
                log.warning(LogEvent.CREDENTIALS_UNREADABLE, problem=invalid.problems[0])
            unreadable = True
            return 0
        unreadable = False
        if found == before and found != in_use:
            use(found)
            in_use = found
            log.info(LogEvent.CREDENTIALS_RENEWED)
        before = found
        return 0

    return Chore("credentials", _INTERVAL, 1, run_once)
