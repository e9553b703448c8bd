"""The two queues for people, and what the commands about them have in common.

Nobody's data is shown: what is withheld can still be asked for by who knows it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from worker.admin.letter_facts import EVENT_COLUMNS, LETTER_COLUMNS, letter_row
from worker.amqp.dead_letter_queue import DeadLetterQueue, InUse
from worker.cli.inputs import Order
from worker.cli.mistakes import UserMistake, broker_mistakes
from worker.cli.tables import counted, print_table
from worker.contract.encryption import MessageKeys
from worker.contract.names import DEAD, UNROUTED
from worker.core.delivery import Letter
from worker.deadletters.reading import Known, LetterReader, UnroutedEvent
from worker.deadletters.selecting import Acting, Selection, select
from worker.settings import BrokerSettings, MessageSettings, load
from worker.telemetry.clock import SystemClock, today

L = TypeVar("L")


@dataclass(frozen=True, slots=True)
class Letters(Generic[L]):
    """A queue, what stands in it, how that is read and under which columns it is shown."""

    queue: str
    kind: str
    noun: str
    columns: Sequence[str]
    reader: Callable[[], Callable[[Letter], L]]

    @contextmanager
    def opened(self) -> Iterator[DeadLetterQueue]:
        """Lend the queue; what ends it is a mistake.

        Not over a question: nobody answers the broker's heartbeats meanwhile.
        """
        url = load(BrokerSettings).amqp_url.get_secret_value()
        with broker_mistakes():
            try:
                with DeadLetterQueue.opened(url, self.queue) as opened:
                    yield opened
            except InUse:
                words = f"another tool holds the {self.kind}s: try again when it is done"
                raise UserMistake(words) from None

    def choose(self, match: Callable[[L], bool], limit: int | None = None) -> Selection[L]:
        """Return what stands there and matches; it stays there."""
        read = self.reader()
        with self.opened() as queue:
            return select(queue, read, match, limit)

    @contextmanager
    def acting(self) -> Iterator[Acting[L]]:
        """Lend what acts on those that were chosen."""
        read = self.reader()
        with self.opened() as queue:
            yield Acting(queue, read, SystemClock())

    def show(self, chosen: Sequence[L], *, as_json: bool) -> None:
        """Print a row for each."""
        now = SystemClock().now()
        rows = [letter_row(each, self.columns, now) for each in chosen]
        print_table(self.columns, rows, as_json=as_json)

    def agreed(self, verb: str, chosen: Sequence[L], order: Order) -> bool:
        """Ask whether that shall be done to these; for none nobody is asked."""
        order = replace(order, yes=order.yes or not chosen)
        what = counted(len(chosen), self.noun)
        return order.agreed(verb, what, lambda: self.show(chosen, as_json=order.as_json))


def letter_reader() -> LetterReader:
    """Return who reads dead letters: with MESSAGE_KEYS those that are encrypted, too."""
    return LetterReader(today(), MessageKeys.of(load(MessageSettings)))


DEAD_LETTERS: Letters[Known] = Letters(
    DEAD, "dead letter", "dead letter", LETTER_COLUMNS, lambda: letter_reader().read
)
UNROUTED_EVENTS: Letters[UnroutedEvent] = Letters(
    UNROUTED, "unrouted event", "event", EVENT_COLUMNS, lambda: UnroutedEvent.read
)
