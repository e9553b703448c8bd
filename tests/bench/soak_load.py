"""The load of a soak: requests of every kind at a steady pace, each remembered once confirmed."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.chaos.load import Sender
from tests.e2e.harness import BULK, REQUESTS, request
from worker.core.checks import id_card_check_digit

_BIRTHDAYS = 900
# From here on the persons of contradictions begin: more than any soak sends.
_OTHERS = 600_000
# Of a copy's age in messages: half of the copies come while the first is under way or waiting.
_COPY_AGE = 20.0

# Behaviours of the sandbox that lie in the ID number, good and bad: its magic table.
MAGIC = {
    "mismatch": "119999194912310013",
    "no_record": "119999194912310021",
    "exception_unknown": "119999194912310056",
    "contradictory": "119999194912310064",
    "invalid_argument": "119999194912310152",
    "internal": "119999194912310216",
    "html": "119999194912310240",
    "reset_after_charge": "119999194912310304",
    "truncated": "119999194912310312",
}

# Seconds from its publication to a request's deadline; a clock that is wrong by ten minutes would
# call the first and end the last.
DEADLINES = (-30.0, -30.0, 3.0, 540.0)


def id_card(number: int) -> str:
    """Return the ID number of the n-th invented person; it stands in no magic table."""
    day, sequence = divmod(number, 1_000)
    year, day = divmod(day, _BIRTHDAYS)
    month, day = divmod(day % 336, 28)
    digits = f"110105{1950 + year:04}{month + 1:02}{day + 1:02}{sequence:03}"
    return digits + id_card_check_digit(digits)


@dataclass(slots=True)
class Sent:
    """What the broker has confirmed to the publisher."""

    requests: dict[str, str] = field(default_factory=dict)
    """ID number of each request that must have a row, by its id."""
    contradicted: dict[str, str] = field(default_factory=dict)
    """Another person's ID number under the same request id: whichever comes first is called."""
    rejected: set[str] = field(default_factory=set)
    """Those of them that fail the checks before paying."""
    too_late: set[str] = field(default_factory=set)
    """Those of them whose deadline had passed when they were published."""
    bodies: dict[str, bytes] = field(default_factory=dict)
    """What was published, by request id."""
    copies: int = 0
    conflicts: int = 0
    unreadable: int = 0

    @property
    def messages(self) -> int:
        """How many messages that is."""
        return len(self.requests) + self.copies + self.conflicts + self.unreadable


class Publisher:
    """Publishes on a thread of its own until it is stopped, over any failure of the broker."""

    def __init__(self, amqp_url: str, seed: int, rate: float) -> None:
        self.sent = Sent()
        self._random = random.Random(seed)
        self._pause = 1.0 / rate
        self._calm = False
        self._stopping = threading.Event()
        self._count = 0
        self._thread = threading.Thread(target=self._run, name="publisher")
        self._sender = Sender(f"{amqp_url}?heartbeat=0&blocked_connection_timeout=10")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def calm_down(self) -> set[str]:
        """Publish a few good requests from now on; return the ids of all that came before.

        Requests that always fail keep a worker parked until another one shows that it is they.
        """
        self._calm, self._pause = True, 0.2
        return set(self.sent.requests)

    def stop(self) -> None:
        """Return when the last message is confirmed."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            body, remember = self._next()
            # Copies and contradictions come by the other lane as well.
            self._sender.send(BULK if self.sent.messages % 3 == 0 else REQUESTS, body)
            remember()
            due = max(due + self._pause, time.monotonic() - 1.0)
            self._stopping.wait(max(0.0, due - time.monotonic()))

    def _next(self) -> tuple[bytes, Callable[[], None]]:
        """Return a message of some kind, and what is to be remembered once it is confirmed."""
        sent, dice = self.sent, 1.0 if self._calm else self._random.random()
        if sent.requests and dice < 0.12:
            return self._copy()
        if sent.requests and dice < 0.14 and (conflict := self._conflict()):
            return conflict
        if dice < 0.15:
            return b"{not json", lambda: setattr(sent, "unreadable", sent.unreadable + 1)
        return self._request(dice)

    def _request(self, dice: float) -> tuple[bytes, Callable[[], None]]:
        sent = self.sent
        self._count += 1
        name, person, seconds = f"soak-{self._count:06}", id_card(self._count), None
        if dice < 0.18:
            person = self._random.choice(list(MAGIC.values()))
        elif dice < 0.20:
            person = person[:-1] + "?"
        elif dice < 0.24:
            seconds = self._random.choice(DEADLINES)
        message = request(name, person)
        if seconds is not None:
            message["expiresAt"] = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        body = json.dumps(message).encode()

        def remember() -> None:
            sent.requests[name], sent.bodies[name] = person, body
            if person.endswith("?"):
                sent.rejected.add(name)
            if seconds is not None and seconds < 0:
                sent.too_late.add(name)

        return body, remember

    def _copy(self) -> tuple[bytes, Callable[[], None]]:
        """Return once more what was sent a moment ago, or long ago."""
        sent, ago = self.sent, int(self._random.expovariate(1 / _COPY_AGE))
        names = list(sent.requests)
        name = names[-1 - ago] if ago < len(names) else self._some_request()
        return sent.bodies[name], lambda: setattr(sent, "copies", sent.copies + 1)

    def _conflict(self) -> tuple[bytes, Callable[[], None]] | None:
        """Return other data for a request about a person of its own; None where it is not."""
        sent, name = self.sent, self._some_request()
        number = int(name.rpartition("-")[2])
        if sent.requests[name] != id_card(number):
            return None
        other = id_card(_OTHERS + number)
        sent.contradicted[name] = other

        def remember() -> None:
            sent.conflicts += 1

        return json.dumps(request(name, other)).encode(), remember

    def _some_request(self) -> str:
        """Return one of the last thousand, some of which are still being worked on."""
        names = list(self.sent.requests)[-1_000:]
        return self._random.choice(names)
