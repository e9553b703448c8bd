"""The job for peers with threads: psycopg's pool, and a requests session for each thread.

psycopg directly, not through SQLAlchemy, because it is the faster; in autocommit, because each
statement is a transaction and needs no BEGIN. Its documentation recommends the pool for programs
with more threads than connections. Sessions keep connections alive; `trust_env` is off, which
spares requests a look at the environment and at .netrc for each call.
"""

from __future__ import annotations

import threading

import psycopg_pool
import requests

from tests.bench.peers import common
from tests.bench.peers.common import Answer, CallFailed, Event, Request, Settings, Signer


class Job:
    """Claims, calls and records; any thread may run it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._signer = Signer(settings)
        self._local = threading.local()
        self._pool = psycopg_pool.ConnectionPool(
            settings.database_url,
            min_size=settings.connections,
            max_size=settings.connections,
            kwargs={"autocommit": True},
            open=True,
        )

    def run(self, message: object) -> Event:
        """Return a message's event, its result committed. Raises InvalidRequest, CallFailed."""
        request = common.read_request(message)
        answer = self._claim(request)
        if answer is None:
            answer = self._call(request)
            self._finish(request, answer)
        return common.event(request, answer)

    def close(self) -> None:
        """Close the database's connections."""
        self._pool.close()

    def _claim(self, request: Request) -> Answer | None:
        with self._pool.connection() as connection:
            if connection.execute(common.CLAIM, request[:-1]).fetchone() is not None:
                return None
            row = connection.execute(common.FIND, (request.request_id,)).fetchone()
        return common.known_answer(request, row)

    def _call(self, request: Request) -> Answer:
        try:
            response = self._session().post(
                self._settings.provider_url,
                data=request.body,
                headers=self._signer.headers(request.body),
                timeout=(common.CONNECT_SECONDS, common.CALL_SECONDS),
                allow_redirects=False,
            )
        except requests.RequestException as failure:
            raise CallFailed(type(failure).__name__) from failure
        return common.read_answer(response.status_code, response.content)

    def _finish(self, request: Request, answer: Answer) -> None:
        with self._pool.connection() as connection:
            connection.execute(common.FINISH, (*answer, request.request_id))

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False
        return session
