"""The ledger: who works on a request, every call before it leaves, every outcome once."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from time import monotonic
from typing import TypeVar

import structlog
from sqlalchemy import Connection, Engine

from worker.core.claims import (
    Claim,
    ClaimRequest,
    Entry,
    FencedOut,
    Granted,
    Recorded,
)
from worker.core.outcome import CallClass
from worker.core.request import Lane
from worker.ports import Ledger, LedgerContended
from worker.store import statements
from worker.store.booking import Booking, key_of
from worker.store.claiming import Claiming, LedgerConfig
from worker.store.engine import connection, run
from worker.store.quota import Quota
from worker.store.quota_row import lock_quota, return_tokens, save_quota, tokens_held
from worker.store.reuse import SameData, look_up
from worker.store.rows import (
    record_batch,
    recorded_result,
)
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
        quota = self._config.quota
        if quota is None:
            return _again(lambda: self._claim(batch, owner))
        return _again(lambda: self._claim_within(quota, batch, owner))

    def record(
        self, batch: Sequence[Entry], announced: Sequence[str]
    ) -> list[Recorded | FencedOut]:
        """Record calls and what follows from them (see `ports.Ledger`)."""
        return _again(lambda: self._record(batch, announced))

    def _claim(self, batch: Sequence[ClaimRequest], owner: str) -> list[Claim]:
        if self._config.reuse_seconds is not None:
            with connection(self._transactions) as database, database.begin():
                return self._claim_on(database, batch, owner)
        with connection(self._engine) as database:
            return self._claim_on(database, batch, owner)

    def _claim_on(
        self, database: Connection, batch: Sequence[ClaimRequest], owner: str
    ) -> list[Claim]:
        known = self._known(database, batch)
        claims = Claiming(database, self._config, owner).claim(known.left(batch))
        return known.added(batch, claims)

    def _claim_within(self, quota: Quota, batch: Sequence[ClaimRequest], owner: str) -> list[Claim]:
        """Claim what the quota has calls for, in one transaction with the tokens that it costs.

        What needs no call, or no other one, is answered whatever is left of the quota.
        """
        mode = self._config.mode
        with connection(self._transactions) as database, database.begin():
            state = lock_quota(database, quota, mode)
            locked_at = self._now()
            known = self._known(database, batch)
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

    def _known(self, database: Connection, batch: Sequence[ClaimRequest]) -> SameData:
        """Return what others have, or are asking, of this batch's data; where reuse is on."""
        within = self._config.reuse_seconds
        if within is None:
            return SameData()
        return look_up(database, batch, self._config.mode, within)

    def _record(
        self, batch: Sequence[Entry], announced: Sequence[str]
    ) -> list[Recorded | FencedOut]:
        if self._config.quota is not None and any(map(_is_unsent, batch)):
            return self._record_within(self._config.quota, batch, announced)
        with connection(self._engine) as database:
            saved = _saved(database, batch, announced)
        if missed := [each for each in batch if key_of(each) not in saved]:
            with connection(self._transactions) as database, database.begin():
                saved |= Booking(database, self._config.mode.value).book(missed)
        return [saved[key_of(each)] for each in batch]

    def _record_within(
        self, quota: Quota, batch: Sequence[Entry], announced: Sequence[str]
    ) -> list[Recorded | FencedOut]:
        """Record in one transaction with the tokens of the calls that were not sent after all.

        The quota's row is locked first, as by a claim.
        """
        mode = self._config.mode
        with connection(self._transactions) as database, database.begin():
            lock_quota(database, quota, mode)
            unsent = [each for each in batch if _is_unsent(each)]
            held = tokens_held(database, unsent, mode)
            saved = _saved(database, batch, announced)
            if missed := [each for each in batch if key_of(each) not in saved]:
                saved |= Booking(database, mode.value).book(missed)
            return_tokens(database, held, tokens_held(database, unsent, mode), mode)
        return [saved[key_of(each)] for each in batch]


def _saved(
    database: Connection, batch: Sequence[Entry], announced: Sequence[str]
) -> dict[tuple[str, str], Recorded | FencedOut]:
    """Record what is as its claim had left it."""
    marks = {"batch": record_batch(batch), "announced": list(announced)}
    rows = {(row.request_id, row.owner): row for row in run(database, statements.RECORD, marks)}
    return {
        key_of(each): Recorded(recorded_result(each, rows[key_of(each)]))
        for each in batch
        if key_of(each) in rows
    }


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
