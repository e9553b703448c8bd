"""What the commands for dead letters do with the queue, its errors turned into lines."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.amqp.dead_letter_queue import DeadLetterQueue, InUse
from worker.cli.inputs import today
from worker.cli.mistakes import UserMistake, broker_mistakes
from worker.cli.tables import print_facts
from worker.contract.encryption import MessageKeys
from worker.deadletters.acting import Acting
from worker.deadletters.reading import Known, LetterReader
from worker.deadletters.selecting import Filters, Selection, bodies, select, select_about
from worker.settings import BrokerSettings, MessageSettings, load
from worker.telemetry.clock import SystemClock
from worker.telemetry.logs import configure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


@contextmanager
def dead_letter_service(settings: BrokerSettings | None = None) -> Iterator[DeadLetterService]:
    """Open the way to the dead letters, with the environment's settings where none are given.

    Encrypted ones are read where the environment has MESSAGE_KEYS, too.
    """
    settings = settings or load(BrokerSettings)
    keys = MessageKeys.of(load(MessageSettings))
    configure("auto", "warning")
    with _mistakes(), DeadLetterQueue.opened(settings.amqp_url.get_secret_value()) as queue:
        yield DeadLetterService(queue, LetterReader(today(), keys))


@dataclass(frozen=True, slots=True)
class DeadLetterService:
    """The queue of dead letters and who reads them."""

    queue: DeadLetterQueue
    reader: LetterReader

    def select(self, filters: Filters, limit: int | None) -> Selection:
        """Look at all of them; those that are meant are chosen, up to the limit."""
        return select(self.queue, self.reader, filters, limit)

    def bodies(self, filters: Filters, limit: int) -> list[tuple[Known, object]]:
        """Return the oldest of those that are meant, and their masked bodies."""
        return bodies(self.queue, self.reader, filters, limit, today())

    def about(self, id_cards: Collection[str]) -> Selection:
        """Look for the letters of these persons."""
        return select_about(self.queue, self.reader, id_cards)

    def take_out(self, found: Selection) -> int:
        """Drop what was chosen and return how many it were."""
        acting = Acting(self.queue, self.reader, SystemClock())
        acting.drop(found.marks())
        return acting.done

    def replay(self, found: Selection, per_second: float, *, as_json: bool) -> None:
        """Replay what was chosen, and say how many were, however it ends."""
        acting = Acting(self.queue, self.reader, SystemClock())
        try:
            acting.replay(found.marks(), per_second)
        finally:
            report("replayed", acting.done, found, as_json=as_json)

    def drop(self, found: Selection, *, as_json: bool) -> None:
        """Drop what was chosen, likewise."""
        acting = Acting(self.queue, self.reader, SystemClock())
        try:
            acting.drop(found.marks())
        finally:
            report("dropped", acting.done, found, as_json=as_json)


def report(verb: str, done: int, found: Selection, *, as_json: bool) -> None:
    """Print how many of the chosen letters that was done to."""
    print_facts({verb: done, "of": len(found.chosen)}, as_json=as_json)


@contextmanager
def _mistakes() -> Iterator[None]:
    with broker_mistakes():
        try:
            yield
        except InUse:
            raise UserMistake(
                "another tool holds the dead letters: try again when it is done"
            ) from None
