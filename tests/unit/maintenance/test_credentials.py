"""Renewed credentials are used when they are whole, and those in use stay until then."""

from structlog.typing import EventDict

from worker.maintenance.credentials import renewed_credentials
from worker.settings import SettingsInvalid
from worker.telemetry.logs import LogEvent

OLD, MIXED, NEW = ("old key", "old secret"), ("new key", "old secret"), ("new key", "new secret")
GONE = SettingsInvalid(["PROVIDER_SECRET_KEY_FILE: cannot be read (FileNotFoundError)"])


def test_what_changes_is_used_at_the_second_look_that_finds_it(log: list[EventDict]) -> None:
    looks_at: list[tuple[str, str] | SettingsInvalid]
    looks_at = [OLD, MIXED, NEW, GONE, GONE, NEW, NEW, OLD]
    script = iter(looks_at)
    used: list[tuple[str, str]] = []

    def read() -> tuple[str, str]:
        found = next(script)
        if isinstance(found, SettingsInvalid):
            raise found
        return found

    chore = renewed_credentials(OLD, read, used.append)
    looks = [chore.run_once() or len(used) for _ in range(8)]
    assert (used, looks) == ([NEW], [0, 0, 0, 0, 0, 1, 1, 1])
    events = [line["event"] for line in log]
    assert events == [LogEvent.CREDENTIALS_UNREADABLE, LogEvent.CREDENTIALS_RENEWED]
