"""What the pipeline and maintenance need from the world, as Protocols, and how it fails."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from worker.core.claims import Claim, ClaimRequest, Entry, Envelope, FencedOut, Recorded
from worker.core.delivery import Delivery, Publication, Settlement
from worker.core.outcome import CallReport, StoredResult
from worker.core.request import Lane, VerificationRequest


class Fault(Exception):
    """A fault of the world around us, mapped once at the border of the room that met it."""


class LedgerUnavailable(Fault):
    """The database cannot be used now; what was asked may be asked again unchanged."""


class LedgerContended(LedgerUnavailable):
    """Another transaction was in the way (a deadlock, say): the same again will work."""


class LedgerRefused(Fault):
    """The database refuses the data of this batch: repeating it is useless, halving it is not."""


class DatabaseUnfit(Fault):
    """This database will never do, however often it is asked; the words say what to do."""


class Ledger(Protocol):
    """Who works on which request, every call, every outcome. Every method is one transaction.

    All raise `LedgerUnavailable` or `LedgerRefused`, and nothing else on purpose.
    """

    def claim(self, batch: Sequence[ClaimRequest], token: str) -> list[Claim]:
        """Claim requests and commit the intents to call; answers are in the batch's order.

        Request ids within a batch are distinct. `token` names the batch: a repeat of a batch
        whose commit was lost on the way back finds its own claims again.
        """

    def record(
        self, batch: Sequence[Entry], announced: Sequence[str]
    ) -> list[Recorded | FencedOut]:
        """Record calls and what follows from them; answers are in the batch's order.

        `announced` are ids of requests for which the broker has confirmed all that is published.
        """


class Verifier(Protocol):
    """The provider."""

    def verify(self, request: VerificationRequest) -> CallReport:
        """Make one call, by its deadline, and report it: a fault is a report, not an error."""


class Broker(Protocol):
    """The message broker, from any thread's point of view."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Publish, wait for the confirms, acknowledge: in the background, whatever happens."""

    def pause(self) -> None:
        """Stop taking deliveries; those taken can still be settled."""

    def resume(self, prefetch: int | None = None) -> None:
        """Take deliveries again, so many unacknowledged ones of a lane; None: as at the start."""

    def allow_bulk(self, allowed: bool) -> None:
        """Take nothing of the bulk lane from now on, or again what is wanted."""


class Publisher(Protocol):
    """The message broker for what settles no delivery."""

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""

    @property
    def blocked(self) -> bool:
        """Whether it takes no publications now."""

    def publish(
        self, publications: Sequence[Publication], on_confirmed: Callable[[], None]
    ) -> None:
        """Publish in the background, whatever happens, until the broker has confirmed it all.

        `on_confirmed` is called then, on the broker's thread, and must not block.
        """


class Outbox(Protocol):
    """Results whose event nobody is known to have sent. Errors as of `Ledger`."""

    def take(self, limit: int) -> list[tuple[StoredResult, Envelope]]:
        """Take unsent results, with where their senders want them; nobody else gets them now.

        Unless they are held or marked they are given out again after a minute.
        """

    def hold(self, request_ids: Sequence[str]) -> None:
        """Keep for another minute what was taken and is not sent yet."""

    def mark_sent(self, request_ids: Sequence[str]) -> None:
        """Mark these events as sent, for good."""


class DeliverySink(Protocol):
    """Where the broker puts what it receives and reports what it finished (on its own thread)."""

    def deliver(self, delivery: Delivery) -> None:
        """Take one delivery; must not block."""

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Learn that everything these caused is confirmed and they are acknowledged."""

    def returned(self, epoch: int, lane: Lane) -> None:
        """Learn that the broker has queued again what a lane's channels delivered up to here."""


class Clock(Protocol):
    """Time, as an argument."""

    def now(self) -> datetime:
        """Return the time in UTC."""

    def monotonic(self) -> float:
        """Return seconds that only grow, to measure with."""
