"""How often each person was asked about: what "at first" means. Bounded memory."""

import hmac
import secrets
from collections import OrderedDict

from worker.sandbox.acts import Act, AtFirst
from worker.sandbox.person import Person

# Only persons with an "at first" behaviour are kept; the oldest of 100,000 starts anew.
_PERSONS_KEPT = 100_000


class Attempts:
    """Counts calls for each ID number and name, under a digest whose key nobody knows."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._calls: OrderedDict[bytes, int] = OrderedDict()

    def next_act(self, behaviour: AtFirst, person: Person) -> Act:
        """Count one call, and return what is to be done on it."""
        text = f"{person.number}\n{person.name}"
        key = hmac.digest(self._key, text.encode(), "sha256")
        calls = self._calls.pop(key, 0) + 1
        self._calls[key] = calls
        if len(self._calls) > _PERSONS_KEPT:
            self._calls.popitem(last=False)
        return behaviour.first if calls <= behaviour.times else behaviour.then

    def reset(self) -> None:
        """Forget every call."""
        self._calls.clear()
