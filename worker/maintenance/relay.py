"""The relay: sends the events that a crash left unsent, even if their message is gone."""

from functools import partial
from threading import Condition

import structlog

from worker.contract.result_v1 import result_event
from worker.core.delivery import EventFormat
from worker.maintenance.chores import Chore
from worker.ports import LedgerUnavailable, Outbox, Publisher
from worker.telemetry.logs import LogEvent

# A confirm is a matter of milliseconds. A broker that takes longer holds up the other chores, and
# what it confirms later is marked by the next run.
CONFIRM_SECONDS = 10.0
# One short statement, and 100 events are 100 kB or so in the publisher.
_LIMIT = 100


class Relay:
    """Publishes unsent results exactly as a replay does, and marks what the broker confirms.

    What is unconfirmed stays ours and is not published again, for the broker's thread does not
    give up. So an event goes out once, however many relays there are, unless one crashes.
    """

    def __init__(
        self, outbox: Outbox, broker: Publisher, event_format: EventFormat = EventFormat.PLAIN
    ) -> None:
        self._outbox = outbox
        self._broker = broker
        self._event_format = event_format
        self._log = structlog.get_logger()
        self._unconfirmed: set[str] = set()
        self._confirmed: set[str] = set()
        self._interrupted = False
        self._changed = Condition()
        # So an event leaves within half a minute of when it counts as unsent, full wait included.
        self.chore = Chore("relay", 10.0, _LIMIT, self.run_once, self.interrupt)

    def run_once(self) -> int:
        """Send a batch of unsent events; return how many were confirmed and marked."""
        # First, for what the last run could not mark would be taken once more.
        marked = self._mark()
        with self._changed:
            unconfirmed = sorted(self._unconfirmed)
        if unconfirmed:
            self._outbox.hold(unconfirmed)
        # Behind a broker that takes nothing copies would pile up: others hold these events too.
        if self._broker.connected and not self._broker.blocked:
            self._publish(_LIMIT - len(unconfirmed))
        return marked + self._mark()

    def interrupt(self) -> None:
        """Wait for no more confirms."""
        with self._changed:
            self._interrupted = True
            self._changed.notify_all()

    def flush(self) -> None:
        """Mark what was confirmed since the last run, once; else another relay sends it again."""
        try:
            self._mark()
        except LedgerUnavailable as error:
            self._log.warning(LogEvent.DATABASE_UNAVAILABLE, reason=str(error), tries=1)

    def _publish(self, limit: int) -> None:
        """Publish up to `limit` events one by one, so that one bad one holds up no other."""
        taken = self._outbox.take(limit) if limit > 0 else []
        fresh = {stored.request_id for stored, _ in taken}
        with self._changed:
            self._unconfirmed |= fresh
        for stored, envelope in taken:
            event = result_event(stored, envelope, self._event_format)
            self._broker.publish((event,), partial(self._confirm, stored.request_id))
        with self._changed:
            self._changed.wait_for(
                lambda: self._interrupted or not fresh & self._unconfirmed, CONFIRM_SECONDS
            )

    def _confirm(self, request_id: str) -> None:
        """Learn of a confirm: on the broker's thread, which must not wait for a database."""
        with self._changed:
            self._unconfirmed.discard(request_id)
            self._confirmed.add(request_id)
            self._changed.notify_all()

    def _mark(self) -> int:
        with self._changed:
            confirmed = sorted(self._confirmed)
        if not confirmed:
            return 0
        self._outbox.mark_sent(confirmed)
        with self._changed:
            self._confirmed.difference_update(confirmed)
            waiting = len(self._unconfirmed)
        self._log.info(LogEvent.RELAYED, events=len(confirmed), unconfirmed=waiting)
        return len(confirmed)
