"""What a replay of dead letters will do, before it does."""

from collections.abc import Callable, Mapping, Sequence

from worker.deadletters.reading import UNDECRYPTABLE, UNREADABLE_REASONS, Encrypted, Known


def prospects(
    chosen: Sequence[Known], finished: Callable[[Sequence[str]], Mapping[str, bool]]
) -> dict[str, int]:
    """Count the letters by what becomes of them; `finished` says which requests have an outcome."""
    ids = sorted({known.real_request_id for known in chosen if known.real_request_id is not None})
    states = finished(ids)
    done = sum(states.get(known.real_request_id or "", False) for known in chosen)
    unreadable = sum(map(_is_unreadable, chosen))
    closed = sum(known.encrypted is Encrypted.CLOSED for known in chosen)
    return {
        "finished: the event is repeated, no call is made": done,
        "unreadable: dead-lettered again": unreadable,
        "not to be opened here (MESSAGE_KEYS): may be called, and charged": closed,
        "not finished: may be called, and charged": len(chosen) - done - unreadable - closed,
    }


def _is_unreadable(known: Known) -> bool:
    """Return whether a replay would come back, as far as can be seen here."""
    if known.encrypted is Encrypted.CLOSED or known.reason not in UNREADABLE_REASONS:
        return False
    # What was not opened then and is now has its key back, unless there is no request in it.
    return known.reason != UNDECRYPTABLE or known.real_request_id is None
