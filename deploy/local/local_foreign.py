"""Servers that somebody else runs: the ones that AMQP_URL and DATABASE_URL name.

They are used as they are, never started, stopped or killed.
"""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit

from local_errors import NotOurs
from local_management import Management
from local_psql import Psql


class ForeignBroker:
    """The broker that AMQP_URL names: used as it is, never started, stopped or killed."""

    private = False

    def __init__(self, url: str, management_url: str | None = None) -> None:
        self.url = url
        self.management_url = management_url

    def create_vhost(self, name: str) -> str:
        """Create a vhost and return its URL. Raises NotOurs without a management URL."""
        self._management("create a vhost").create_vhost(name)
        return self.vhost_for(name)

    def delete_vhost(self, name: str) -> None:
        """Delete a vhost. Raises NotOurs without a management URL."""
        self._management("delete a vhost").delete_vhost(name)

    def vhost_for(self, name: str) -> str:
        """Return the URL of the vhost `name`; without a management URL, AMQP_URL itself."""
        if self.management_url is None:
            return self.url
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{quote(name, safe='')}"))

    def queues(self, vhost: str = "/") -> dict[str, int]:
        """Return each queue's number of messages. Raises NotOurs without a management URL."""
        return self._management("count messages").queues(vhost)

    def _management(self, what: str) -> Management:
        if self.management_url is None:
            raise NotOurs(f"cannot {what} on the broker of AMQP_URL: set AMQP_MANAGEMENT_URL too")
        return Management(self.management_url)


class ForeignDatabase:
    """The database server that DATABASE_URL names; its user needs CREATEDB for more databases."""

    private = False

    def __init__(self, url: str) -> None:
        self.url = url

    def create_database(self, name: str, *, template: str | None = None) -> str:
        """Create a database and return its URL. Raises StackError if that is not permitted."""
        return Psql(self.url).create_database(name, template=template)

    def drop_database(self, name: str) -> None:
        """Drop a database and the connections to it; none of that name is no error."""
        Psql(self.url).drop_database(name)
