"""One row that the database refuses, and the batch around it. No threads, no waiting."""

from collections.abc import Sequence
from dataclasses import replace

from worker.core.claims import Claim, ClaimRequest, Entry, FencedOut, Recorded, Unstorable
from worker.core.outcome import DeadLetter, ErrorKind, Failure, Outcome, Result, worse
from worker.ports import Ledger, LedgerRefused


class SplittingLedger:
    """A ledger that halves a batch whose data is refused, until the poison row is alone."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def claim(self, batch: list[ClaimRequest], token: str) -> list[Claim | Unstorable]:
        """Claim a batch; `token` names it, and so its halves."""
        if not batch:
            return []
        try:
            return list(self._ledger.claim(batch, token))
        except LedgerRefused:
            if len(batch) == 1:
                return [Unstorable()]
            half = len(batch) // 2
            return self.claim(batch[:half], f"{token}l") + self.claim(batch[half:], f"{token}r")

    def record(
        self, batch: list[Entry], announced: Sequence[str]
    ) -> list[tuple[Entry, Recorded | FencedOut | Unstorable]]:
        """Record a batch; a poison row is recorded without the provider's texts, if it can be."""
        try:
            return list(zip(batch, self._ledger.record(batch, announced), strict=True))
        except LedgerRefused:
            if not batch:
                raise
            if len(batch) == 1:
                return [self._record_without_texts(batch[0], announced)]
            half = len(batch) // 2
            return self.record(batch[:half], announced) + self.record(batch[half:], ())

    def _record_without_texts(
        self, entry: Entry, announced: Sequence[str]
    ) -> tuple[Entry, Recorded | FencedOut | Unstorable]:
        entry = _without_texts(entry)
        try:
            return entry, self._ledger.record([entry], announced)[0]
        except LedgerRefused:
            return entry, Unstorable()


def _without_texts(entry: Entry) -> Entry:
    """Return an entry that any database takes: the provider's own words are given up."""
    charged, report = entry.granted.charged, entry.report
    if report is not None:
        charged = worse(charged, report.charged)
        report = replace(report, auth_info=None, status=None, provider_request_id=None)
    failure = Failure(ErrorKind.UNSTORABLE, "the provider's answer cannot be stored")
    result = Result(Outcome.FAILED, charged, failure=failure)
    return replace(entry, report=report, decision=DeadLetter(result, ErrorKind.UNSTORABLE))
