"""What a restored database lacks, and what it cannot know: for the command `restore-check`."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, text

from worker.store.engine import connection, execute
from worker.store.rows import OPEN, UNSENT

# What the migrations grant: a dump of a database has the grants and not the roles, and grants to a
# role that is not there are lost. A test compares the two.
RIGHTS = {
    "verification_worker": {
        "SCHEMA verification": "USAGE",
        "verification.request": "SELECT, INSERT, UPDATE, DELETE",
        "verification.provider_call": "SELECT, INSERT, UPDATE, DELETE",
        "verification.call_quota": "SELECT, INSERT, UPDATE",
        "verification.fleet_control": "SELECT, INSERT, UPDATE",
        "verification.alembic_version": "SELECT",
        "verification.worker": "SELECT, INSERT, UPDATE, DELETE",
        "verification.turned_away": "SELECT, INSERT, UPDATE, DELETE",
    },
    "verification_reader": {
        "SCHEMA verification_v1": "USAGE",
        "verification_v1.results": "SELECT",
        "verification_v1.open_requests": "SELECT",
        "verification_v1.calls": "SELECT",
        "verification_v1.daily_calls": "SELECT",
        "verification_v1.changes": "SELECT",
        "verification_v1.turned_away": "SELECT",
    },
}
_GRANTS = [
    (role, object_, right)
    for role, objects in RIGHTS.items()
    for object_, rights in objects.items()
    for right in rights.split(", ")
]

_MISSING_ROLES = text(
    "SELECT role FROM unnest(CAST(:roles AS text[])) AS role WHERE to_regrole(role) IS NULL"
)
_MISSING_RIGHTS = text("""
SELECT count(*) FROM unnest(CAST(:roles AS text[]), CAST(:objects AS text[]),
                            CAST(:rights AS text[])) AS wanted(role, object, "right")
 WHERE to_regrole(role) IS NULL
    OR NOT CASE WHEN object LIKE 'SCHEMA %'
                THEN has_schema_privilege(role, substr(object, 8), "right")
                ELSE has_table_privilege(role, object, "right") END
""")

_HERE = """(SELECT system_identifier || '/' || timeline_id
             FROM pg_control_system(), pg_control_checkpoint())"""
_HIGHEST = """(SELECT coalesce(max(changed_in), 0) FROM verification.request
                WHERE completed_at IS NOT NULL)"""
_MOVED = f"""
(server <> {_HERE}
 OR {_HIGHEST} >= epoch * 1000000000000 + pg_snapshot_xmax(pg_current_snapshot())::text::bigint)
"""
_EPOCH = text(f"SELECT {_MOVED} AS moved FROM verification.change_epoch")
_NEW_EPOCH = text(f"""
SELECT verification.begin_change_epoch(greatest(epoch, {_HIGHEST} / 1000000000000) + 1, {_HERE})
  FROM verification.change_epoch WHERE {_MOVED}
""")

_ANALYZE = text("ANALYZE verification.request, verification.provider_call")
_UNKNOWN = text("""
SELECT EXISTS (SELECT FROM verification.request)
   AND NOT EXISTS (SELECT FROM pg_stats WHERE schemaname = 'verification' AND tablename = 'request')
""")
_OWNED = text("""
SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'verification.request'::regclass
""")

_KNOWLEDGE = text(f"""
SELECT greatest((SELECT max(started_at) FROM verification.provider_call),
                (SELECT max(requested_at) FROM verification.request)) AS last_at,
       (SELECT count(*) FROM verification.request WHERE {OPEN}) AS open_requests,
       (SELECT count(*) FROM verification.request WHERE {UNSENT}) AS unsent_events,
       (SELECT count(*) FROM verification.fleet_control WHERE paused_at IS NOT NULL) > 0 AS paused
""")


@dataclass(frozen=True, slots=True)
class Lacks:
    """What keeps a restored database from being used, all of which can be repaired."""

    roles: tuple[str, ...]
    rights: int
    """How many rights of the two roles are missing."""
    epoch: bool
    """Whether the numbers of changes are of another server."""
    statistics: bool
    """Whether the planner knows nothing of the tables yet."""

    @property
    def anything(self) -> bool:
        """Whether there is something to repair."""
        return bool(self.roles or self.rights or self.epoch or self.statistics)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """How far the restored rows reach: what happened later stands in no row."""

    last_at: datetime | None
    open_requests: int
    unsent_events: int
    paused: bool


class PostgresRestore:
    """Looks at a restored database and repairs it, as its owner. Errors as of `ports.Ledger`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def lacks(self) -> Lacks:
        """Say what must be repaired; the schema must be this program's."""
        roles, objects, rights = (list(each) for each in zip(*_GRANTS, strict=True))
        missing = execute(self._engine, _MISSING_ROLES, roles=[*RIGHTS])
        ((lost,),) = execute(
            self._engine, _MISSING_RIGHTS, roles=roles, objects=objects, rights=rights
        )
        ((moved,),) = execute(self._engine, _EPOCH)
        ((unknown,),) = execute(self._engine, _UNKNOWN)
        return Lacks(tuple(row.role for row in missing), lost, moved, unknown)

    def knowledge(self) -> Knowledge:
        """Say how far the rows reach."""
        return Knowledge(*execute(self._engine, _KNOWLEDGE)[0])

    def may_repair(self) -> bool:
        """Whether the login owns the tables."""
        ((owned,),) = execute(self._engine, _OWNED)
        return bool(owned)

    def repair(self, lacks: Lacks) -> None:
        """Make roles, grant rights, begin a new epoch and let the planner count."""
        with connection(self._engine) as database:
            for role in lacks.roles:
                database.execute(text(f"CREATE ROLE {role} NOLOGIN"))
            for role, object_, right in _GRANTS if lacks.rights else ():
                database.execute(text(f"GRANT {right} ON {object_} TO {role}"))
            database.execute(_NEW_EPOCH)
            if lacks.statistics:
                database.execute(_ANALYZE)
