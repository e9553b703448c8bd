"""The nonces seen lately, in bounded memory."""


class NonceMemory:
    """Remembers at least the last `kept` nonces, and at most twice as many.

    Two generations of sets: dropping the older one whole costs nothing per call, where an ordered
    dictionary would pay for every eviction.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._young: set[str] = set()
        self._old: set[str] = set()

    def use(self, nonce: str) -> bool:
        """Remember a nonce; return False where it was used before."""
        if nonce in self._young or nonce in self._old:
            return False
        if len(self._young) >= self._kept:
            self._old, self._young = self._young, set()
        self._young.add(nonce)
        return True
