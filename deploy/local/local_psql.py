"""Databases created and dropped through psql: the stack has no driver before the venv is there."""

from __future__ import annotations

import os
import subprocess
from urllib.parse import quote, urlsplit, urlunsplit

import local_programs
from local_errors import StackError

# Copying a template takes 0.1 s; a busy disk has needed 10.
_SECONDS = 60.0


class Psql:
    """psql, connected to the database that `url` names."""

    def __init__(self, url: str) -> None:
        self._url = url

    def create_database(self, name: str, *, template: str | None = None) -> str:
        """Create a database, empty or as a copy of `template`, and return its URL.

        Nobody may be connected to the template meanwhile.
        """
        source = f" TEMPLATE {_identifier(template)}" if template else ""
        self.run(f"CREATE DATABASE {_identifier(name)}{source}")
        return database_url(self._url, name)

    def drop_database(self, name: str) -> None:
        """Drop a database with the connections to it; none of that name is no error."""
        self.run(f"DROP DATABASE IF EXISTS {_identifier(name)} WITH (FORCE)")

    def run(self, statement: str) -> str:
        """Run one statement and return its rows, unaligned. Raises StackError with the reason."""
        command = [local_programs.postgresql("psql"), "--no-psqlrc", "--no-password", "--quiet"]
        command += ["--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
        command += ["--dbname", self._url, "--command", statement]
        # "does not exist, skipping" is a notice, and no concern of anybody's.
        environment = {**os.environ, "PGOPTIONS": "-c client_min_messages=warning"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        if done.returncode != 0:
            raise StackError(f"psql: {done.stderr.strip()} (in: {statement})")
        return done.stdout.strip()


def database_url(server: str, name: str) -> str:
    """Return the URL of the database `name` on the same server."""
    return urlunsplit(urlsplit(server)._replace(path=f"/{quote(name, safe='')}"))


def _identifier(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
