"""DATABASE_URL in each form that people write; mistakes are in tests/e2e/test_wrong_urls.py."""

import pytest

from worker.store.address import connection_parameters


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
