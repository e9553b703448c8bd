"""What the pipeline's threads hand to each other: values, each written once."""

from dataclasses import dataclass, field

from worker.contract.request_v1 import Accepted, Refused
from worker.core.claims import ClaimRequest, Entry, Granted, Postponed
from worker.core.delivery import Delivery, Settlement
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
