"""DATABASE_URL: each form that people write, and each mistake in one line without its password."""

from __future__ import annotations

import pytest

from worker.settings import SettingsInvalid
from worker.store.address import connection_parameters

SECRET = "canary-secret"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@one:5432,two:5433/db?target_session_attrs=read-write",
        "postgresql://u@one:5432,two:5433/db",
        "postgresql://u@/db?host=one:5432&host=two:5433",
        "postgresql://u@/db?host=one%3A5432&host=two%3A5433&target_session_attrs=read-write",
        "postgresql://u@/db?host=one,two&port=5432,5433",
    ],
)
def test_several_hosts_are_named_in_any_form_and_the_primary_is_wanted(url: str) -> None:
    assert connection_parameters(url) == {
        "user": "u",
        "host": "one,two",
        "port": "5432,5433",
        "dbname": "db",
        "target_session_attrs": "read-write",
    }


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://u:p@h/db", {"user": "u", "password": "p", "host": "h", "dbname": "db"}),
        ("postgresql://u:1%40%2F%25@h", {"user": "u", "password": "1@/%", "host": "h"}),
        ("postgresql://u:100%@h", {"user": "u", "password": "100%", "host": "h"}),
        (
            "postgresql://u@[::1]:5433/db",
            {"user": "u", "host": "::1", "port": "5433", "dbname": "db"},
        ),
        ("postgresql://%2Frun%2Fpg/db", {"host": "/run/pg", "dbname": "db"}),
        ("postgresql:///db?host=/run/pg", {"host": "/run/pg", "dbname": "db"}),
        (
            "postgresql://a,b/db?target_session_attrs=any",
            {"host": "a,b", "port": ",", "dbname": "db", "target_session_attrs": "any"},
        ),
    ],
)
def test_a_url_is_read_as_libpq_reads_it(url: str, named: dict[str, str]) -> None:
    assert connection_parameters(url) == named


MISTAKES = {
    "line break": (f"postgresql://u:{SECRET}@h/db\n", "a space or a line break"),
    "space": (f"postgresql://u:{SECRET} @h/db", "a space or a line break"),
    "unknown parameter": (
        f"postgresql://u:{SECRET}@h/db?sslmod=require",
        "no parameter sslmod: is sslmode meant?",
    ),
    "a parameter of ours": (f"postgresql://u:{SECRET}@h/db?pool=5", "no parameter pool"),
    "no value": (f"postgresql://u:{SECRET}@h/db?sslmode", "cannot be read as postgresql://"),
    "unknown sslmode": (f"postgresql://u:{SECRET}@h/db?sslmode={SECRET}", "sslmode has a value"),
    "unknown target": (
        f"postgresql://u:{SECRET}@h/db?target_session_attrs=rw",
        "target_session_attrs has a value",
    ),
    "no number of seconds": (
        f"postgresql://u:{SECRET}@h/db?connect_timeout=5s",
        "connect_timeout has a value",
    ),
    "port": (f"postgresql://u:{SECRET}@h:54x2/db", "cannot be read as"),
    "port too large": (f"postgresql://u:{SECRET}@h:70000/db", "cannot be read as"),
    "@ in the password": (f"postgresql://u:{SECRET}@@h/db", "write %40 for @"),
    "/ in the password": (f"postgresql://u:{SECRET}/{SECRET}@h/db", "%2F for /"),
    "? behind / in the password": (f"postgresql://u:1/?{SECRET}=1@h/db", "%2F for /"),
    "hosts and ports": (f"postgresql://u:{SECRET}@a,b,c/db?port=1,2", "one port for each"),
    "open bracket": (f"postgresql://u:{SECRET}@[::1/db", "cannot be read as"),
    "no bracket": (f"postgresql://u:{SECRET}@fe80::1:5432/db", "cannot be read as"),
    "forbidden character": (f"postgresql://u:{SECRET}%00@h/db", "cannot be read as"),
    "empty label": (f"postgresql://u:{SECRET}@h..x/db", "cannot be read as"),
}


@pytest.mark.parametrize(("url", "words"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_one_line_that_says_what_to_do(url: str, words: str) -> None:
    with pytest.raises(SettingsInvalid) as refusal:
        connection_parameters(url)
    (problem,) = refusal.value.problems
    assert problem.startswith("DATABASE_URL: ")
    assert words in problem
    assert "\n" not in problem
    assert SECRET not in problem
    assert refusal.value.__suppress_context__
