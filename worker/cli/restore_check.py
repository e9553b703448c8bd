"""`verification-worker restore-check`: what a restored database needs before workers use it."""

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from worker.admin.cells import Cell
from worker.cli.mistakes import UserMistake, open_database
from worker.cli.tables import AsJson, counted, note, print_table
from worker.settings import DatabaseSettings, load
from worker.store.overview import HEAD, PostgresOverview
from worker.store.restoring import Knowledge, Lacks, PostgresRestore


def restore_check(
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Do what must be done; as the owner of the tables.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a restored database lacks, and what happened after its last row.

    Run it after a restore, a failover that lost commits or a move to another server, before the
    workers start. Exit code 1: something must be repaired.
    """
    with open_database(load(DatabaseSettings), "restore-check") as engine:
        revision = PostgresOverview(engine).revision()
        if revision is None or revision < HEAD:
            raise UserMistake(f"the schema is {revision}: run `alembic upgrade head` first")
        restore = PostgresRestore(engine)
        lacks = restore.lacks()
        if repair and lacks.anything:
            if not restore.may_repair():
                raise UserMistake("DATABASE_URL: --repair needs the login that owns the tables")
            restore.repair(lacks)
            note("repaired")
            lacks = restore.lacks()
        knowledge = restore.knowledge()
    print_table(("check", "found", "to do"), _checks(lacks), as_json=as_json, words_last=True)
    if not as_json:
        for words in _advice(knowledge):
            note(words)
    sys.exit(1 if lacks.anything else 0)


def _checks(lacks: Lacks) -> Iterator[tuple[Cell, ...]]:
    """Yield a row for each thing that can be repaired."""
    found = {
        "roles": ", ".join(lacks.roles) and f"missing: {', '.join(lacks.roles)}",
        "rights": lacks.rights and f"{counted(lacks.rights, 'right')} of these roles missing",
        "changes": lacks.epoch and "numbers are of another server: readers would miss rows",
        "statistics": lacks.statistics and "none: queries would read whole tables",
    }
    for check, problem in found.items():
        yield check, problem or "ok", "restore-check --repair" if problem else None


def _advice(knowledge: Knowledge) -> Iterator[str]:
    """Say what the rows cannot know."""
    if knowledge.last_at is None:
        yield "there is no request"
        return
    last = f"{knowledge.last_at:%Y-%m-%dT%H:%M:%SZ}"
    yield (
        f"the last row is of {last}: what was paid and finished later stands in none; compare the "
        f"invoice: `reconcile invoice.csv --from {last}`"
    )
    if knowledge.open_requests:
        yield (
            f"{counted(knowledge.open_requests, 'request')} open: those whose message the broker "
            "still has go on; of the others publishers send again what they have no result for"
        )
    if knowledge.unsent_events:
        yield f"{counted(knowledge.unsent_events, 'event')} unsent here: workers send them, again"
    if knowledge.paused:
        yield "the fleet is paused: `verification-worker resume`"
