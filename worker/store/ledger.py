"""The ledger: who works on a request, every call before it leaves, every outcome once."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from time import monotonic
from typing import TypeVar

import structlog
from sqlalchemy import Engine

from worker.core.claims import Claim, ClaimRequest, Entry, FencedOut, Granted, Recorded
from worker.core.outcome import CallClass
from worker.core.request import Lane
from worker.ports import Ledger, LedgerContended
from worker.store.booking import Answers, book, key_of, record
from worker.store.claiming import Claiming, LedgerConfig
from worker.store.engine import connection
from worker.store.quota import Quota
from worker.store.quota_row import lock_quota, return_tokens, save_quota, tokens_held
from worker.store.reuse import SameData, look_up
from worker.telemetry.logs import LogEvent

T = TypeVar("T")

# Rows are locked in order, so a deadlock is rare already; four in a row would be something else.
_CONTENDED_TRIES = 3


class PostgresLedger(Ledger):
    """The `Ledger` in PostgreSQL, for one worker."""

    def __init__(
        self, engine: Engine, config: LedgerConfig, now: Callable[[], float] = monotonic
    ) -> None:
        self._engine = engine
        self._now = now
        # The same pool; each checkout begins a transaction, for claims of several statements.
        self._transactions = engine.execution_options(isolation_level="READ COMMITTED")
        self._config = config
        self._log = structlog.get_logger()

    def claim(self, batch: Sequence[ClaimRequest], token: str) -> list[Claim]:
        """Claim requests and commit the intents to call (see `ports.Ledger`)."""
        owner = f"{self._config.worker}/{token}"
        return _again(lambda: self._claim(batch, owner))

    def record(
        self, batch: Sequence[Entry], announced: Sequence[str]
    ) -> list[Recorded | FencedOut]:
        """Record calls and what follows from them (see `ports.Ledger`)."""
        return _again(lambda: self._record(batch, announced))

    def _claim(self, batch: Sequence[ClaimRequest], owner: str) -> list[Claim]:
        if self._config.quota is not None:
            return self._claim_within(self._config.quota, batch, owner)
        if (within := self._config.reuse_seconds) is not None:
            with connection(self._transactions) as database, database.begin():
                known = look_up(database, batch, self._config.mode, within)
                claims = Claiming(database, self._config, owner).claim(known.left(batch))
            return known.added(batch, claims)
        with connection(self._engine) as database:
            claims = Claiming(database, self._config, owner).claim(batch)
        return [claims[each.request_id] for each in batch]

    def _claim_within(self, quota: Quota, batch: Sequence[ClaimRequest], owner: str) -> list[Claim]:
        """Claim what the quota has calls for, in one transaction with the tokens that it costs.

        What needs no call, or no other one, is answered whatever is left of the quota.
        """
        mode, within = self._config.mode, self._config.reuse_seconds
        with connection(self._transactions) as database, database.begin():
            state = lock_quota(database, quota, mode)
            locked_at = self._now()
            known = SameData() if within is None else look_up(database, batch, mode, within)
            claiming = Claiming(database, self._config, owner)
            # What has expired needs no call, and no token.
            left = [_unless_expired(each, state.now) for each in known.left(batch)]
            claims = claiming.claim_at_most(state.shares, left)
            calls = _calls(left, claims)
            if state.clock_set_back:
                self._log.warning(LogEvent.CLOCK_SET_BACK, of="call_quota")
            lanes = {each.request_id: each.lane for each in left}
            waits = state.waits(lanes[each.request_id] for each in calls)
            if calls or state.clock_set_back:
                bulk = {each for each, lane in lanes.items() if lane is Lane.BULK}
                called = {each.request_id for each in calls}
                state = state.spend(
                    *_by_lane(called, bulk), repeated=_by_lane(claiming.repeated, bulk)
                )
                save_quota(database, state, mode)
            claims |= {
                each.request_id: state.postponed(each.lane)
                for each in left
                if each.request_id not in claims
            }
        # A commit's answer may come late, and the places are not later for it.
        passed = self._now() - locked_at
        for granted, wait in zip(calls, waits, strict=True):
            claims[granted.request_id] = replace(granted, wait=wait - passed)
        return known.added(batch, claims)

    def _record(
        self, batch: Sequence[Entry], announced: Sequence[str]
    ) -> list[Recorded | FencedOut]:
        quota, mode = self._config.quota, self._config.mode
        unsent = [each for each in batch if _is_unsent(each)]
        if quota is None or not unsent:
            with connection(self._engine) as database:
                saved = record(database, batch, announced)
            if missed := _without_answer(batch, saved):
                with connection(self._transactions) as database, database.begin():
                    saved |= book(database, mode, missed)
        else:
            # In one transaction with the tokens of the calls that were not sent after all. The
            # quota's row is locked first, as by a claim.
            with connection(self._transactions) as database, database.begin():
                lock_quota(database, quota, mode)
                held = tokens_held(database, unsent, mode)
                saved = record(database, batch, announced)
                if missed := _without_answer(batch, saved):
                    saved |= book(database, mode, missed)
                return_tokens(database, held, tokens_held(database, unsent, mode), mode)
        return [saved[key_of(each)] for each in batch]


def _without_answer(batch: Sequence[Entry], saved: Answers) -> list[Entry]:
    return [each for each in batch if key_of(each) not in saved]


def _is_unsent(entry: Entry) -> bool:
    return entry.report is not None and entry.report.call_class is CallClass.NOT_SENT


def _by_lane(ids: AbstractSet[str], bulk: AbstractSet[str]) -> tuple[int, int]:
    return len(ids - bulk), len(ids & bulk)


def _unless_expired(asked: ClaimRequest, now: datetime) -> ClaimRequest:
    expired = asked.expires_at is not None and asked.expires_at <= now
    return replace(asked, wants_call=False) if expired else asked


def _again(work: Callable[[], T]) -> T:
    """Do it, and at once again where another transaction was in the way: it has finished by now."""
    for _ in range(_CONTENDED_TRIES):
        try:
            return work()
        except LedgerContended:
            continue
    return work()


def _calls(batch: Sequence[ClaimRequest], claims: Mapping[str, Claim]) -> list[Granted]:
    """Return the grants with a call, in the batch's order: the first comes first."""
    answers = [claims.get(each.request_id) for each in batch]
    return [each for each in answers if isinstance(each, Granted) and each.call_number is not None]
