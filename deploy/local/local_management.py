"""RabbitMQ's management HTTP API, as far as the local stack needs it, and what it is needed for."""

import json
import time
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import requests

from local_errors import NotOurs

# A vhost's deletion waits for its quorum queues; on a busy machine that has taken 5 s.
_SECONDS = 60.0

# A proxy of the environment has no business between us and our own machine.
DIRECTLY = {"http": "", "https": ""}


class Management:
    """The API at `url` (http://user:password@host:port): vhosts, and how full queues are."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._base = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self._login = (unquote(parts.username or "guest"), unquote(parts.password or "guest"))

    def listens_on(self, port: int) -> bool:
        """Tell whether the API answers, and the broker's clients are served on this port."""
        try:
            self._call("GET", f"/api/health/checks/port-listener/{port}")
        except OSError:  # refused, reset, timed out, and every HTTP status that is an error
            return False
        return True

    def create_vhost(self, name: str) -> None:
        """Create an empty vhost that our user may do everything in.

        A broker under load has answered 500, once in some thousand: what it then has made by
        halves goes, and it is asked again.
        """
        vhost = quote(name, safe="")
        for tries_left in (2, 1, 0):
            try:
                self._call("PUT", f"/api/vhosts/{vhost}", {})
                break
            except requests.HTTPError as error:
                if error.response.status_code < 500 or not tries_left:
                    raise
            time.sleep(0.5)
            self.delete_vhost(name)
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self._call("PUT", f"/api/permissions/{vhost}/{quote(self._login[0], safe='')}", everything)

    def delete_vhost(self, name: str) -> None:
        """Delete a vhost with its queues and connections; none of that name is no error."""
        try:
            self._call("DELETE", f"/api/vhosts/{quote(name, safe='')}")
        except requests.HTTPError as error:
            if error.response.status_code != requests.codes.not_found:
                raise

    def copy_vhost(self, template: str, name: str) -> None:
        """Declare in the vhost `name` the exchanges, queues and bindings that `template` has."""
        definitions = self._call("GET", f"/api/definitions/{quote(template, safe='')}")
        self._call("POST", f"/api/definitions/{quote(name, safe='')}", json.loads(definitions))

    def _call(self, method: str, path: str, body: object = None) -> bytes:
        url, login = self._base + path, self._login
        answer = requests.request(
            method, url, json=body, auth=login, proxies=DIRECTLY, timeout=_SECONDS
        )
        if not answer.ok:
            words = f"{method} {path}: {answer.status_code} {answer.text[:2_000]}"
            raise requests.HTTPError(words, response=answer)
        return answer.content


class Vhosts:
    """The vhosts of a broker; without a `management_url` only the one that its `url` names."""

    url: str
    management_url: str | None
    name = "RabbitMQ"

    def create_vhost(self, name: str) -> str:
        """Create an empty vhost (0.02 s) and return its URL. Raises NotOurs."""
        self.management.create_vhost(name)
        return self.vhost_for(name)

    def vhost_for(self, name: str) -> str:
        """Return the URL of the vhost `name`, whether or not it exists."""
        if self.management_url is None:
            return self.url
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{quote(name, safe='')}"))

    @property
    def management(self) -> Management:
        """The broker's API, to make and to delete vhosts with. Raises NotOurs."""
        if self.management_url is None:
            raise NotOurs("the broker of AMQP_URL takes no orders: set AMQP_MANAGEMENT_URL too")
        return Management(self.management_url)


class ForeignBroker(Vhosts):
    """The broker that AMQP_URL names: used as it is, never started or killed."""

    private = False

    def __init__(self, url: str, management_url: str | None = None) -> None:
        self.url = url
        self.management_url = management_url
