"""What the pipeline's threads hand to each other: values, each written once."""

from dataclasses import dataclass, field
from typing import NamedTuple

from worker.contract.request_v1 import Accepted, Refused
from worker.core.breaker import BreakerState, Closed, Open, ParkReason, Probing
from worker.core.claims import ClaimRequest, Entry, Granted, Postponed
from worker.core.delivery import Delivery, Settlement
from worker.core.operations import Pause
from worker.core.request import Lane, VerificationRequest


@dataclass(frozen=True, slots=True)
class Asked:
    """A readable delivery and what the ledger is asked for it."""

    delivery: Delivery
    reading: Accepted | Refused
    claim: ClaimRequest


@dataclass(frozen=True, slots=True)
class Task:
    """A granted request; its call may start from `not_before` to `start_by`.

    Times are on the monotonic clock, its deadline too: by the database's clock, as it stood at the
    claim, for a worker's own may be wrong.
    """

    asked: Asked
    request: VerificationRequest
    granted: Granted
    not_before: float
    start_by: float
    expires_at: float

    @property
    def lane(self) -> Lane:
        """Which lane its message came by."""
        return self.asked.delivery.lane


@dataclass(frozen=True, slots=True)
class Finished:
    """A delivery whose end is decided and not yet recorded."""

    delivery: Delivery
    entry: Entry


@dataclass(slots=True)
class Admission:
    """What became of a batch of deliveries: exactly one of the four for each."""

    tasks: list[Task] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)
    postponed: list[tuple[Delivery, Postponed]] = field(default_factory=list)
    """What may be admitted again later: nothing has happened for it."""


@dataclass(frozen=True, slots=True)
class DatabaseAway:
    """The database has not answered for some seconds."""


GateState = BreakerState | Pause | DatabaseAway


class GateView(NamedTuple):
    """What the breaker thread goes by."""

    state: GateState
    """The pause, or else the database, or else the breaker."""
    calls: int
    """How many calls may be under way at once."""
    bulk: bool = True
    """Whether bulk may be called."""

    @property
    def parked(self) -> ParkReason | None:
        """Why the worker takes no messages as it usually does, or None."""
        match self.state:
            case Pause():
                return ParkReason.PAUSED
            case DatabaseAway():
                return ParkReason.DATABASE
            case Open(reason=reason) | Probing(reason=reason):
                return reason
            case Closed():
                return None
