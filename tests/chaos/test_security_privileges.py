"""What the worker may do with the broker and the database: what its work needs, and no more."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pika
import psycopg
import pytest
from pika import exceptions

from local_management import Management
from local_stack import Servers
from tests.chaos.invariants import finish
from tests.e2e.harness import DEAD, Stack, as_user, request, until

# RabbitMQ's regular expressions match anywhere in a name: without ^ and $ they permit too much.
CONFIGURE = "^$"
"""Nothing is declared with TOPOLOGY=check: an operator has run `topology apply` before."""
WRITE = r"^(verification\.results|amq\.default)$"
"""Events go to the results exchange; retries and dead letters, through the default exchange (named
amq.default in permissions), straight to their queues, so that each is confirmed by its own."""
READ = r"^verification\.requests(\.bulk)?$"
"""Two queues are consumed; what moves messages from queue to queue is the broker itself."""

# The sandbox's magic numbers for: a match, and 503 once and then a match.
MATCH, RECOVERS = "11010519491231002X", "119999194912310363"

FORBIDDEN = [
    "CREATE TABLE public.mine (n int)",
    "CREATE TABLE verification.mine (n int)",
    "CREATE SCHEMA mine",
    "CREATE VIEW verification_v1.mine AS SELECT 1",
    "ALTER TABLE verification.request ADD COLUMN mine int",
    "DROP TABLE verification.provider_call",
    "DROP VIEW verification_v1.results",
    "TRUNCATE verification.provider_call",
    "CREATE INDEX ON verification.request (outcome)",
    "ALTER TABLE verification.request DISABLE TRIGGER ALL",
    "UPDATE verification.alembic_version SET version_num = '0000'",
    "CREATE ROLE mine SUPERUSER",
    "SET ROLE postgres",
    "COPY verification.request TO PROGRAM 'cat'",
    "COPY verification.request FROM '/etc/passwd'",
]
"""Statements that the database must refuse to the worker's role."""


class Users(Management):
    """The broker's users and what they may do."""

    def create(self, name: str, password: str) -> None:
        """Create a user without any rights."""
        self._call("PUT", f"/api/users/{name}", {"password": password, "tags": ""})

    def permit(self, vhost: str, name: str, configure: str, write: str, read: str) -> None:
        """Set what a user may do in a vhost."""
        rights = {"configure": configure, "write": write, "read": read}
        self._call("PUT", f"/api/permissions/{vhost}/{name}", rights)

    def delete(self, name: str) -> None:
        """Delete a user."""
        self._call("DELETE", f"/api/users/{name}")


@pytest.fixture
def narrow_amqp_url(servers: Servers, stack: Stack) -> Iterator[str]:
    """Give the URL of a user with the least rights in the stack's vhost."""
    management_url = servers.broker.management_url
    if management_url is None:
        pytest.skip("users are made through AMQP_MANAGEMENT_URL")
    users, name, password = Users(management_url), f"u{secrets.token_hex(6)}", secrets.token_hex()
    users.create(name, password)
    try:
        users.permit(stack.vhost, name, CONFIGURE, WRITE, READ)
        yield as_user(stack.amqp_url, name, password)
    finally:
        users.delete(name)


def test_with_the_least_rights_the_worker_answers_retries_and_dead_letters(
    stack: Stack, narrow_amqp_url: str, narrow_database_url: str
) -> None:
    narrow = {"AMQP_URL": narrow_amqp_url, "DATABASE_URL": narrow_database_url}
    worker = stack.start_worker(**narrow, TOPOLOGY="check", RETRY_DELAYS="1s,2s,3s")
    stack.publish(request("answered", MATCH), reply_to="narrow.replies")
    stack.publish(request("retried", RECOVERS))
    stack.publish(request("refused", "not a number"))
    stack.publish(b"{", correlation_id="unreadable")
    until(lambda: stack.depth(DEAD) == 1)
    accounts = finish(stack, ["answered", "retried", "refused"], worker, events=4)
    outcomes = {name: (row["outcome"], row["calls"]) for name, row in accounts.results.items()}
    ends = {"answered": ("match", 1), "retried": ("match", 2), "refused": ("rejected", 0)}
    assert outcomes == ends
    assert not worker.logged("database.unavailable")
    assert not worker.logged("amqp.connection_lost")


def test_with_the_least_rights_no_other_queue_is_read_and_nothing_is_declared(
    narrow_amqp_url: str,
) -> None:
    attempts: list[Callable[[Any], object]] = [
        lambda channel: channel.basic_get(DEAD),
        lambda channel: channel.basic_get("verification.unrouted"),
        lambda channel: channel.queue_declare("mine"),
        lambda channel: channel.queue_delete("verification.requests"),
        lambda channel: channel.queue_purge("verification.dead"),
        lambda channel: channel.exchange_declare("mine"),
        lambda channel: channel.queue_bind(DEAD, "verification.results", "#"),
    ]
    with pika.BlockingConnection(pika.URLParameters(narrow_amqp_url)) as connection:
        for attempt in attempts:
            with pytest.raises(exceptions.ChannelClosedByBroker) as refusal:
                attempt(connection.channel())
            assert refusal.value.reply_code == 403


def test_when_the_worker_may_not_declare_then_it_says_so_and_does_not_crash(
    stack: Stack, narrow_amqp_url: str
) -> None:
    stack.publish(request("waits"))
    worker = stack.launch_worker(AMQP_URL=narrow_amqp_url, TOPOLOGY="apply")
    until(lambda: len(worker.logged("amqp.consuming_stopped")) >= 2)
    lines = worker.logged("amqp.consuming_stopped")
    assert {line["kind"] for line in lines} == {"AccessRefused"}
    assert all("verification." in line["problem"] for line in lines)
    assert all("retry_in" in line for line in lines)  # it may be nothing: jitter begins there
    assert worker.popen.poll() is None
    assert worker.stop() == 0
    assert stack.depth("verification.requests") == 1


def test_when_rights_are_missing_then_the_command_says_which_in_one_line(
    stack: Stack, narrow_amqp_url: str
) -> None:
    stack.environment["AMQP_URL"] = narrow_amqp_url
    line = stack.refused("topology", "apply")
    assert "refused" in line
    assert str(urlsplit(narrow_amqp_url).password) not in line


def test_the_workers_role_changes_no_schema_and_reaches_no_file(narrow_database_url: str) -> None:
    with psycopg.connect(narrow_database_url, autocommit=True) as connection:
        for statement in FORBIDDEN:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
        # A grant that gives nothing is no error to PostgreSQL, but a warning.
        connection.execute("GRANT SELECT ON verification.request TO PUBLIC")
        query = (
            "SELECT has_table_privilege('verification_reader', 'verification.request', 'SELECT')"
        )
        assert connection.execute(query).fetchone() == (False,)
