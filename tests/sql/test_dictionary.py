"""The data dictionary says what the database says."""

import psycopg
import pytest

from reference_pages import DATA, CommentMissing, dictionary, renewed


def test_the_committed_dictionary_is_what_the_migrations_say(owner: psycopg.Connection) -> None:
    committed = DATA.read_text(encoding="utf-8")
    assert committed == renewed(committed, dictionary(owner)), "run ./deploy/local/data-dictionary"


@pytest.mark.parametrize(
    ("on", "named"),
    [
        ("COLUMN verification_v1.changes.change", "verification_v1.changes.change"),
        ("COLUMN verification.request.changed_in", "verification.request.changed_in"),
        ("VIEW verification_v1.calls", "verification_v1.calls"),
        ("SCHEMA verification", "verification"),
    ],
)
def test_what_has_no_comment_is_named(owner: psycopg.Connection, on: str, named: str) -> None:
    with owner.transaction(force_rollback=True):
        owner.execute(f"COMMENT ON {on} IS NULL".encode())
        with pytest.raises(CommentMissing, match=f"^{named} has no COMMENT"):
            dictionary(owner)
