"""One request, the calls that were made for it, what was said of its outcome, and what must hold.

An operation is what a worker or a chore does with the store. Whoever is granted a call makes it, at
once, and is charged.
"""

from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import psycopg
from sqlalchemy import Engine

from tests.fakes.messages import ask
from tests.fakes.verifier import MATCH, fault
from tests.integration.store.conftest import ledger_of
from worker.core.claims import AlreadyDone, Claim, ClaimRequest, Entry, FencedOut, Granted, Recorded
from worker.core.digests import Digest
from worker.core.outcome import CallClass, CallReport, Charged, StoredResult
from worker.core.request import Mode
from worker.core.retry import RetryPolicy, decide, expire, reuse
from worker.store.erasure import PostgresErasure, PostgresRetention
from worker.store.fleet import PostgresPause
from worker.store.leases import PostgresLeases
from worker.store.ledger import PostgresLedger
from worker.store.outbox import PostgresOutbox

REQUEST = "onb-1"
ASKED = ask(REQUEST)
NEW_KEY = Digest("k2", b"\x03" * 32, b"\x04" * 32)
UNDER_NEW_KEY = replace(ASKED, digests=(NEW_KEY, *ASKED.digests))
UNCALLED = CallReport(CallClass.NOT_SENT, Charged.NO, sends=0)
IN_DOUBT = fault(CallClass.IN_DOUBT, Charged.UNKNOWN)
_tokens = count(1)


@dataclass
class World:
    """A database with one request at most, and the books beside it."""

    engines: list[Engine]
    sql: psycopg.Connection[Any]
    max_in_doubt_calls: int
    charges: int = 0
    deleted: int = 0
    told: list[StoredResult] = field(default_factory=list)
    first: tuple[PostgresLedger, Granted] | None = None
    """Who claimed first, made its call and was held up, where a state has somebody like that."""
    budget: int | None = None
    """Of all workers, where a state has one."""
    reuse: float | None = None
    """For how long an answer is given again, where a state has that."""
    lost: int = 0
    """Calls that an asynchronous failover has lost: one more may be charged."""

    def ledger(self, worker: str, session: int, per_minute: int | None = None) -> PostgresLedger:
        """Return a worker's ledger on a session of its own."""
        return ledger_of(
            self.engines[session],
            worker,
            max_in_doubt_calls=self.max_in_doubt_calls,
            calls_per_minute=per_minute,
            daily_call_budget=self.budget,
            reuse_seconds=self.reuse,
        )

    # States

    def empty(self) -> None:
        """Forget everything."""
        for table in ("request", "provider_call", "call_quota"):
            self.sql.execute(f"DELETE FROM verification.{table}".encode())  # noqa: S608

    def called_and_lapsed(self) -> None:
        """Let a worker claim and call, and be held up for longer than its lease."""
        self.empty()
        self._call_first("1")
        self.sql.execute("UPDATE verification.request SET lease_until = now() - interval '1 hour'")

    def claimed_and_lapsed(self) -> None:
        """Let a worker claim and be held up before its call for longer than its lease."""
        self.called_and_lapsed()
        self.charges -= 1

    def claimed_in_budget(self) -> None:
        """Let all workers share a budget, and the first be held up before its call."""
        self.budget = 100
        self.claimed_and_lapsed()

    def vanished(self) -> None:
        """Let an asynchronous failover lose a request whose call is made."""
        self.called_and_lapsed()
        self.sql.execute("DELETE FROM verification.request")
        self.sql.execute("DELETE FROM verification.provider_call")
        self.lost = 1

    def set_back(self) -> None:
        """Let an asynchronous failover lose a take-over whose call is made."""
        self.waiting()
        self.sql.execute("CREATE TEMPORARY TABLE kept AS SELECT * FROM verification.request")
        self._call_first("2")
        self.sql.execute("DELETE FROM verification.request")
        self.sql.execute("INSERT INTO verification.request SELECT * FROM kept")
        self.sql.execute("DELETE FROM verification.provider_call WHERE call_number = 2")
        self.sql.execute("DROP TABLE kept")
        self.lost = 1

    def waiting(self) -> None:
        """Let a first call fail for free; the message comes again."""
        self.empty()
        self._work(self.ledger("first", 0), ASKED, fault(CallClass.NOT_SENT), charged=0)
        self.sql.execute("UPDATE verification.request SET due_at = now()")

    def done(self) -> None:
        """Let the request have its outcome an hour ago, its event sent."""
        self.empty()
        ledger = self.ledger("first", 0)
        self._work(ledger, ASKED, MATCH)
        ledger.record([], [REQUEST])
        self.sql.execute("UPDATE verification.request SET completed_at = now() - interval '1 hour'")

    def unsent(self) -> None:
        """Let the request have its outcome an hour ago, and nobody know of its event."""
        self.done()
        self.sql.execute("UPDATE verification.request SET event_sent_at = NULL, settled_at = NULL")

    def _call_first(self, token: str) -> None:
        """Let the first worker claim and call."""
        ledger = self.ledger("first", 0)
        (claim,) = ledger.claim([ASKED], token)
        assert isinstance(claim, Granted)
        self.charges += 1
        self.first = ledger, claim

    # Operations: what each does, on the session that it is given.

    def work(self, session: int) -> None:
        """Claim, call and record, as any worker."""
        self._work(self.ledger(f"worker-{session}", session), ASKED, MATCH)

    def work_in_quota(self, session: int) -> None:
        """Claim within a quota, call and record."""
        self._work(self.ledger(f"worker-{session}", session, per_minute=600), ASKED, MATCH)

    def crash(self, session: int) -> None:
        """Claim, call and die."""
        claim = self._claim(self.ledger(f"crashing-{session}", session), ASKED)
        if isinstance(claim, Granted) and claim.call_number is not None:
            self.charges += 1

    def work_under_new_key(self, session: int) -> None:
        """Claim under a new digest key, call and record."""
        self._work(self.ledger(f"rekeying-{session}", session), UNDER_NEW_KEY, MATCH)

    def late_answer(self, _session: int) -> None:
        """Record the answer of the first worker's call, whose lease has lapsed."""
        self._late(MATCH)

    def late_doubt(self, _session: int) -> None:
        """Record that the first worker's call had no answer."""
        self._late(IN_DOUBT)

    def late_without_call(self, _session: int) -> None:
        """Let the first worker's claim go: it was not called after all."""
        self._late(UNCALLED)

    def repeat(self, _session: int) -> None:
        """Claim again under the first worker's token: the first answer was lost. Then go on."""
        assert self.first is not None
        ledger, _ = self.first
        self._go_on(ledger, ASKED, MATCH, self._claim(ledger, ASKED, "1"))

    def settle_lapsed(self, session: int) -> None:
        """Settle what nobody works on."""
        PostgresLeases(
            self.engines[session],
            Mode.SANDBOX,
            max_in_doubt_calls=self.max_in_doubt_calls,
            abandon_after=None,
        ).settle_lapsed(10)

    def relay(self, session: int) -> None:
        """Take what was not announced, announce it, mark it."""
        outbox = PostgresOutbox(self.engines[session], Mode.SANDBOX)
        taken = [stored for stored, _ in outbox.take(10)]
        self.told += taken
        outbox.mark_sent([stored.request_id for stored in taken])

    def delete(self, session: int) -> None:
        """Delete what is done and old."""
        deleted = PostgresRetention(self.engines[session], Mode.SANDBOX).delete(60.0, 10)
        self.deleted += deleted  # not in one: the other session may have deleted meanwhile

    def clear(self, session: int) -> None:
        """Clear what is done and old of what is about a person."""
        PostgresRetention(self.engines[session], Mode.SANDBOX).clear_personal(60.0, 10)

    def erase(self, session: int) -> None:
        """Erase the person."""
        PostgresErasure(self.engines[session]).erase([ASKED.digest.subject or b""])

    def pause(self, session: int) -> None:
        """Order a pause, count what is under way, and lift it."""
        orders = PostgresPause(self.engines[session])
        orders.pause("a test", "a tester")
        orders.calls_under_way()
        orders.resume()

    def _claim(self, ledger: PostgresLedger, asked: ClaimRequest, token: str = "") -> Claim:
        (claim,) = ledger.claim([asked], token or f"own-{next(_tokens)}")
        self.tell(claim)
        return claim

    def _work(
        self, ledger: PostgresLedger, asked: ClaimRequest, report: CallReport, charged: int = 1
    ) -> None:
        self._go_on(ledger, asked, report, self._claim(ledger, asked), charged)

    def _go_on(
        self,
        ledger: PostgresLedger,
        asked: ClaimRequest,
        report: CallReport,
        claim: Claim,
        charged: int = 1,
    ) -> None:
        if not isinstance(claim, Granted):
            return
        if claim.reuse is not None:
            self._record(ledger, Entry(asked, claim, None, reuse(claim.reuse, claim)))
        elif claim.call_number is None:
            self._record(ledger, Entry(asked, claim, None, expire(claim)))
        else:
            self.charges += charged
            self._record(ledger, Entry(asked, claim, report, decide(report, claim, self._policy)))

    def _late(self, report: CallReport) -> None:
        assert self.first is not None
        ledger, granted = self.first
        self._record(ledger, Entry(ASKED, granted, report, decide(report, granted, self._policy)))

    def _record(self, ledger: PostgresLedger, entry: Entry) -> None:
        self.tell(ledger.record([entry], [])[0])

    def tell(self, found: Claim | Recorded | FencedOut) -> None:
        """Keep the outcome that a claim or a record has told, if it has one."""
        match found:
            case AlreadyDone(stored) | FencedOut(AlreadyDone(stored)):
                self.told.append(stored)
            case Recorded(stored) if stored is not None:
                self.told.append(stored)

    @property
    def _policy(self) -> RetryPolicy:
        return RetryPolicy((5, 30), self.max_in_doubt_calls)

    # Several requests with the same data

    def same_data(self) -> None:
        """Let answers be reused, and nobody have asked yet."""
        self.empty()
        self.reuse = 3600.0

    def ask_for(self, request_id: str, session: int) -> None:
        """Claim one of these requests, use an answer that is there or call, and record."""
        self._work(self.ledger(f"{request_id}-{session}", session), ask(request_id), MATCH)

    # What must hold

    def finish(self) -> None:
        """Let workers that nobody disturbs go on until the request has its outcome."""
        state = self.sql.execute("SELECT state, digest_key FROM verification.request")
        under = ASKED if (state.fetchone() or ("", "k1"))[1] != NEW_KEY.key_id else UNDER_NEW_KEY
        for attempt in range(6):
            lapsed = self.sql.execute(
                """UPDATE verification.request SET due_at = NULL,
                     lease_until = CASE WHEN state = 'working' THEN now() - interval '1 hour' END
                   WHERE state <> 'done' RETURNING 1"""
            ).fetchone()
            if lapsed or attempt == 0:
                self._work(self.ledger(f"finishing-{attempt}", 0), under, MATCH)

    def check(self) -> None:
        """Fail where money was spent that nobody allowed, or a request has no single outcome."""
        row = self.sql.execute(
            "SELECT outcome, calls, in_doubt_calls, charged, fingerprint FROM verification.request"
        ).fetchone()
        assert row is not None, "the row is lost"
        outcome, calls, doubts, charged, fingerprint = row
        entries = self.sql.execute(
            "SELECT charged, finished_at, class FROM verification.provider_call"
        ).fetchall()
        allowed = 1 + self.max_in_doubt_calls + self.deleted + self.lost
        assert self.charges <= allowed, f"{self.charges} charges, {allowed} allowed"
        told = {each.result.outcome for each in self.told}
        erased = not bytes(fingerprint)
        assert outcome is not None, "no outcome"
        if self.deleted or erased:
            return
        assert told == {outcome}, f"told {told}, stored {outcome}"
        # A row that has its outcome stays as it is, though a call is booked that nobody knew.
        unknown = len(entries) - calls
        assert 0 <= unknown <= self.lost, f"{len(entries)} calls in the ledger, {calls} in the row"
        paid = sum(charge != "no" for charge, _, _ in entries)
        assert self.charges <= paid, f"{self.charges} charges, {paid} of them in the ledger"
        assert all(finished is not None for _, finished, _ in entries), "a call without an end"
        assert doubts >= self.charges - 1 - self.lost, (
            f"{self.charges} charges, {doubts} doubts counted"
        )
        assert not self.charges or charged != "no", "charged, and the row says it was free"
        if self.budget is not None:
            self.check_tokens()

    def check_tokens(self) -> None:
        """Fail where the day's budget is not what its calls cost that were perhaps sent."""
        found = self.sql.execute(
            """SELECT calls_today, (SELECT count(*) FROM verification.provider_call
                WHERE class IS DISTINCT FROM 'not_sent'
                  AND (started_at AT TIME ZONE 'Asia/Shanghai')::date = day)
                 FROM verification.call_quota"""
        ).fetchone()
        assert found is not None
        spent, sent = found
        assert spent == sent, f"{spent} tokens taken, {sent} calls perhaps sent"
