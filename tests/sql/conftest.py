"""A login for people, made as the guide says, and a worker's ledger."""

import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.integration.store.conftest import engine, ledger
from tests.sql.published import blocks, literal

__all__ = ["engine", "ledger"]


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def reader_url(database_url: str, owner: psycopg.Connection) -> Iterator[str]:
    """Give the URL of a login that the guide's own statements have made."""
    name, password = f"reader_{secrets.token_hex(6)}", secrets.token_hex()
    (recipe,) = blocks("Who reads what")
    owner.execute(literal(recipe.replace("analyst", name).replace("change me", password)))
    parts = urlsplit(database_url)
    host = parts.netloc.rpartition("@")[2]
    try:
        yield urlunsplit(parts._replace(netloc=f"{name}:{password}@{host}"))
    finally:
        owner.execute(literal(f"DROP ROLE {name}"))


@pytest.fixture
def reader(reader_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(reader_url, autocommit=True) as connection:
        yield connection
