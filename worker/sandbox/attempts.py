"""How often each person was asked about: what "at first" means. Bounded memory."""

import hmac
import secrets
from collections import OrderedDict

from worker.sandbox.acts import AtFirst
from worker.sandbox.person import Person

# Only persons with an "at first" behaviour are kept; the oldest of 100,000 starts anew.
_PERSONS_KEPT = 100_000


class Attempts:
    """Counts calls for each ID number, name and behaviour, under a digest of a key of our own."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._calls: OrderedDict[bytes, int] = OrderedDict()

    def next_act(self, name: str, behaviour: AtFirst, person: Person) -> str:
        """Count one call of the behaviour `name`, and return the act that is to be done on it."""
        text = f"{name}\n{person.number}\n{person.name}"
        key = hmac.digest(self._key, text.encode(), "sha256")
        calls = self._calls.pop(key, 0) + 1
        self._calls[key] = calls
        if len(self._calls) > _PERSONS_KEPT:
            self._calls.popitem(last=False)
        return behaviour.first if calls <= behaviour.times else behaviour.then

    def reset(self) -> None:
        """Forget every call."""
        self._calls.clear()
