"""What the pipeline needs from the world, as Protocols: it never names a concrete class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from worker.core.claims import Claim, ClaimRequest, Entry, FencedOut, Recorded
    from worker.core.delivery import Delivery, Settlement
    from worker.core.outcome import CallReport
    from worker.core.request import VerificationRequest


class Ledger(Protocol):
    """The book of requests and calls. Every method is one transaction.

    All raise `LedgerUnavailable` or `LedgerRefused` (core.errors), and nothing else on purpose.
    """

    def claim(self, batch: Sequence[ClaimRequest], token: str) -> list[Claim]:
        """Claim requests and commit the intents to call; answers are in the batch's order.

        Request ids within a batch are distinct. `token` names the batch: a repeat of a batch
        whose commit was lost on the way back finds its own claims again.
        """
        ...

    def record(
        self, batch: Sequence[Entry], announced: Sequence[str]
    ) -> list[Recorded | FencedOut]:
        """Record calls and what follows from them; answers are in the batch's order.

        `announced` are ids of requests whose events the broker has confirmed.
        """
        ...


class Verifier(Protocol):
    """The provider."""

    def verify(self, request: VerificationRequest) -> CallReport:
        """Make one call, by its deadline, and report it: a fault is a report, not an error."""
        ...


class Broker(Protocol):
    """The message broker, from any thread's point of view."""

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Publish, wait for the confirms, acknowledge: in the background, whatever happens."""
        ...

    def pause(self) -> None:
        """Stop taking deliveries; those taken can still be settled."""
        ...

    def resume(self, prefetch: int | None = None) -> None:
        """Take deliveries again, so many unacknowledged ones at most; None: as at the start."""
        ...


class DeliverySink(Protocol):
    """Where the broker puts what it receives and reports what it finished (on its own thread)."""

    def deliver(self, delivery: Delivery) -> None:
        """Take one delivery; must not block."""
        ...

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Learn that everything these caused is confirmed and they are acknowledged."""
        ...


class Clock(Protocol):
    """Time, as an argument."""

    def now(self) -> datetime:
        """Return the time in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only grow, to measure with."""
        ...
