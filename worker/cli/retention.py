"""`verification-worker retention`: clear and delete what is old, once, to the end."""

from collections.abc import Callable

from worker.cli.mistakes import open_database
from worker.cli.tables import AsJson, note, print_facts
from worker.maintenance.chores import old_requests
from worker.settings import RetentionSettings, load
from worker.store.erasure import PostgresRetention


def retention(*, as_json: AsJson = False) -> None:
    """Clear and delete finished requests by CLEAR_AFTER_DAYS and DELETE_AFTER_DAYS, then end.

    What running workers do every ten minutes, for where none runs all day. It takes the worker's
    own settings as far as it needs them, and ends with 0 when nothing is left to do.
    """
    settings = load(RetentionSettings)
    cleared: list[int] = []
    deleted: list[int] = []
    if not settings.clear_after_days and not settings.delete_after_days:
        note("CLEAR_AFTER_DAYS and DELETE_AFTER_DAYS are 0: everything is kept")
    with open_database(settings, "retention") as engine:
        kept = PostgresRetention(engine, settings.provider_mode)
        chore = old_requests(
            _tallied(kept.clear_personal, cleared),
            _tallied(kept.delete, deleted),
            clear_after_days=settings.clear_after_days,
            delete_after_days=settings.delete_after_days,
        )
        while chore.run_once() >= chore.limit:
            pass
    print_facts({"cleared": sum(cleared), "deleted": sum(deleted)}, as_json=as_json)


def _tallied(act: Callable[[float, int], int], tally: list[int]) -> Callable[[float, int], int]:
    def counted(older_than: float, limit: int) -> int:
        tally.append(act(older_than, limit))
        return tally[-1]

    return counted
