"""What the sandbox can do with an admitted call: a closed set of plain data."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from worker.sandbox.answers import Occasion

Headers = tuple[tuple[str, str], ...]
Body = Callable[[Occasion], bytes]


class Manner(StrEnum):
    """How a response travels."""

    WHOLE = "whole"
    #: After `slow_seconds`.
    SLOW = "slow"
    #: Half of what Content-Length promises, then the connection closes.
    TRUNCATED = "truncated"
    #: The head at once, the body a byte at a time.
    DRIPPED_BODY = "dripped_body"
    #: Everything a byte at a time, status line first: no read timeout ever fires.
    DRIPPED = "dripped"
    #: Chunked, padded with `huge_bytes`.
    HUGE = "huge"


@dataclass(frozen=True, slots=True)
class Respond:
    """Send a response."""

    body: Body
    charged: bool = False
    status: int = 200
    manner: Manner = Manner.WHOLE
    headers: Headers = ()
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Hang:
    """Answer nothing, until the client gives up or `hang_seconds` are over."""

    charged: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection (RST)."""

    charged: bool


Act = Respond | Hang | Reset


@dataclass(frozen=True, slots=True)
class AtFirst:
    """Do one thing on a person's first `times` calls, another on all later ones.

    A person is an ID number with a name, so tests that use different names are independent.
    `first` and `then` name rows of the magic table that are acts.
    """

    times: int
    first: str
    then: str


Behaviour = Act | AtFirst


@dataclass(frozen=True, slots=True)
class Turn:
    """One act, with the body that it sends (empty where it sends none).

    `era` says in which counts a call is (see `Charges`); None is a request that is no call.
    """

    act: Act
    body: bytes = b""
    era: int | None = None
