"""What waits in the queue when a worker is killed: messages of every kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.e2e.harness import ID_CARD, request

if TYPE_CHECKING:
    from tests.e2e.harness import Stack

MISMATCH, NO_RECORD, REFUSED = "119999194912310013", "119999194912310021", "119999194912310152"
WRONG_CHECK_DIGIT, CHARGED_IN_VAIN = "110105194912310021", "119999194912310048"
FAILS_ONCE, ALWAYS_FAILS = "119999194912310363", "119999194912310224"
# Name, ID number, outcome, how many, copies of each that follow at once.
KINDS = [
    ("match", ID_CARD, "match", 9, 1),
    ("in-vain", CHARGED_IN_VAIN, "failed", 4, 1),
    ("recovering", FAILS_ONCE, "match", 4, 1),
    ("mismatch", MISMATCH, "mismatch", 3, 1),
    ("twin", ID_CARD, "match", 3, 2),
    ("rejected", WRONG_CHECK_DIGIT, "rejected", 3, 1),
    ("no-record", NO_RECORD, "no_record", 2, 1),
    ("failing", ALWAYS_FAILS, "failed", 1, 1),
    ("refused", REFUSED, "failed", 1, 1),
]
AGAIN = ["match-0", "mismatch-0", "rejected-0", "recovering-0", "in-vain-0", "refused-0"]
UNREADABLE = b'{"requestId": '


@dataclass
class Backlog:
    """Messages in their order, and how each request must end."""

    messages: list[dict[str, Any] | bytes] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def plain(cls, number: int) -> Backlog:
        """Return so many requests that match."""
        names = [f"plain-{each}" for each in range(number)]
        return cls([request(name) for name in names], dict.fromkeys(names, "match"))

    @classmethod
    def mixed(cls) -> Backlog:
        """Return 30 requests of all kinds evenly mixed, then repeats and what is no request.

        Even, for five failures in a row would be an outage, and because a crash may take all of
        a batch to the next step: the next crash needs some of its kind that are left.
        """
        backlog = cls()
        placed: list[tuple[float, list[dict[str, Any]]]] = []
        for kind, id_card, outcome, number, copies in KINDS:
            for each in range(number):
                name = f"{kind}-{each}"
                # The sandbox counts failures by person, so everybody has a name of his own.
                message = request(name, id_card, "张" + chr(0x4E00 + len(placed)))
                placed.append(((each + 0.5) / number, [message] * copies))
                backlog.outcomes[name] = outcome
        for _, copies_of_one in sorted(placed, key=lambda place: place[0]):
            backlog.messages += copies_of_one
        by_name = {each["requestId"]: each for each in backlog.messages if isinstance(each, dict)}
        for number, name in enumerate(AGAIN):
            backlog.messages += [by_name[name], UNREADABLE, request(f"match-{number}", NO_RECORD)]
        return backlog

    def publish(self, stack: Stack) -> None:
        """Publish all of it."""
        for message in self.messages:
            # Without an address nobody would be told that a message cannot be read.
            address = {} if isinstance(message, dict) else {"reply_to": "asker"}
            stack.publish(message, **address)
